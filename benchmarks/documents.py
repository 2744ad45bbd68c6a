"""Writes the measured and the predicted figures of benchmarks/results/ into README.md and docs/.

    python -m benchmarks.documents

Every figure in the documents stands between `<!-- figures: NAME -->` and `<!-- end of figures -->`, and comes from the
JSON files alone. Run this after a benchmark has written one of them; a test compares the documents with the files.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.competitors import LANDMARKS
from benchmarks.evidence.figures import METRICS, PAPER, shown, signed
from benchmarks.landmarks import KINDS, PATCH_SIZE, PATCH_SIZES, T_NEGS, Case, of_cases
from benchmarks.results import FLOOR, MIB, OURS, SMALL_DIM, curve, extrapolate, three_digits

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results"
BLOCK = re.compile(r"(<!-- figures: (\w+) -->\n)(.*?)(<!-- end of figures -->)", flags=re.DOTALL)

CPU_LABELS = {
    "cpp": "**dec_kernels, `cpp`**",
    "cpp_landmarks": f"**dec_kernels, `cpp`, `landmarks={LANDMARKS}`**",
    "cpp_bf16": '**dec_kernels, `cpp`, `precision="bf16"`**',
    "torch": "**dec_kernels, `torch`**",
    "eager": "eager PyTorch",
    "compile": "`torch.compile` of the eager code",
    "products_six": "the six matrix products alone, tiled",
}
PRESETS = ("ieee", "tf32x3", "tf32", "bf16")


def pages() -> list[Path]:
    """Every document for readers."""
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


def updated(text: str) -> str:
    """The text of a page with every block of figures as the JSON files have them now.

    Raises:
        KeyError: the name of a block is not in `BLOCKS`.
    """
    return BLOCK.sub(lambda match: f"{match[1]}{BLOCKS[match[2]]()}{match[4]}", text)


def _results(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text())


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _source(results: Mapping[str, Any]) -> str:
    machine, date = results["machine"], results["run"]["date"][:10]
    pytorch = machine["torch"].split("+")[0]
    return f"{machine['cores']} cores of an {machine['cpu']}, PyTorch {pytorch}, {machine['os'].split()[0]}, {date}"


def cpu() -> str:
    """The README's table: one n in detail."""
    results = _results("cpu")
    n = results["claims_at"]["speed"]
    seconds = {name: curve(results, "time", name)[n] for name in results["labels"] if name != "products_five"}
    memory = {name: curve(results, "memory", name) for name in seconds}
    six = seconds["products_six"]
    rows = [
        (
            _label(name),
            f"{seconds[name]:.2f}",
            f"{seconds[name] / six:.2f}",
            three_digits(memory[name][n] / MIB) if n in memory[name] else "",
            str(results["losses"].get(name, ""))[:6],
        )
        for name in sorted(seconds, key=seconds.__getitem__)
    ]
    best = min(value for name, value in seconds.items() if name not in (*OURS, *FLOOR))
    return (
        f"Forward and backward at n = {n} patches (32 crops of 128 x 128), D = 192 values a patch, float32 images; "
        f"medians.\n{_source(results)}; `make bench`.\n\n"
        + _table(("", "seconds", "times the six products", "extra memory, MiB", "loss"), rows)
        + f"\n`cpp` is {best / seconds['cpp']:.1f} times as fast as the best of the others, and "
        f"{best / seconds['cpp_bf16']:.1f} times with bf16 operands. With\n{LANDMARKS} "
        f"[landmarks](docs/linear-time.md) it is {two_digits(best / seconds['cpp_landmarks'])} times as fast, and the "
        f"gradient is off by {results['errors']['cpp_landmarks']:.1e}.\n"
    )


def _label(name: str) -> str:
    if name.startswith("chunked_"):
        return f"eager PyTorch in checkpointed chunks of {name.removeprefix('chunked_')} MiB"
    return CPU_LABELS[name]


def cpu_sizes() -> str:
    """Where n is small, and where it is large."""
    results = _results("cpu")
    n = min(r["n"] for r in results["time"])
    of_time = {name: curve(results, "time", name) for name in results["labels"]}
    ours, few, compiled = (1e3 * of_time[name][n] for name in ("cpp", "cpp_landmarks", "compile"))
    largest = max(of_time["cpp_landmarks"])
    large = results["claims_at"]["memory"]
    small_dim = curve(results, "memory", "cpp", SMALL_DIM)
    most = max(small_dim)
    exponent = next(c["measured"] for c in results["claims"] if "exponent" in c["claim"])
    return (
        f"- **Small batches.** At n = {n} the fixed costs show: `cpp` takes {ours:.1f} ms ({few:.1f} with landmarks) "
        f"and\n  `torch.compile` {compiled:.1f} ms.\n"
        f"- **Large batches.** With {LANDMARKS} [landmarks](linear-time.md), `cpp` takes "
        f"{three_digits(of_time['cpp_landmarks'][largest])} s at n = {largest}. For every\n  pair it would take "
        f"{two_digits(extrapolate(of_time['cpp'], largest))} s, which is computed from its largest n.\n"
        f"- **Memory.** `cpp` needs {curve(results, 'memory', 'cpp')[large] / MIB:.0f} MiB at n = {large}, and "
        f"{small_dim[most] / MIB:.0f} MiB at n = {most} with D = {SMALL_DIM}. Over\n"
        f"  {min(small_dim)} to {most} patches with D = {SMALL_DIM}, it grows with n to the power of {exponent:.2f}.\n"
    )


def costs() -> str:
    """What a step costs at the batches of common configs, from one measurement and one prediction."""
    results, scaling = _results("cpu"), _results("scaling")
    n = results["claims_at"]["speed"]
    seconds = curve(results, "time", "cpp")[n] / n**2
    step = next(r for r in scaling["predicted"]["steps"] if r["precision"] == "tf32x3")
    gpu = [1e3 * s / step["pairs"] for s in step["walk_seconds"]]
    batches = [
        ("the paper's 32 crops of 128 x 128; most of traiNNer-redux's 4x templates (8 of 256 x 256)", n, 1, "measured"),
        ("traiNNer-redux's PLKSR and Compact templates: 16 of 384 x 384", 36864, 1, "computed"),
        ("the same with `scope: image`", 2304, 16, "computed"),
    ]
    rows = []
    for batch, patches, groups, how in batches:
        pairs = groups * patches**2
        time = seconds * pairs
        low, high = (two_digits(ms * pairs) for ms in gpu)
        rows.append(
            (
                batch,
                f"{groups} times {patches:,}" if groups > 1 else f"{patches:,}",
                scientific(pairs),
                f"{time:.2f} s, **measured**" if how == "measured" else f"{two_digits(time)} s, computed",
                f"{low} to {high} ms, PREDICTED",
            )
        )
    headings = ("batch of HR crops, P = 8", "n", "pairs", "2 CPU cores, `cpp`", "H100, `tf32x3`")
    return _table(headings, rows)


def precision() -> str:
    """The errors of the presets."""
    results = _results("precision")
    errors = {(r["backend"], r["precision"], r["temperature"]): r for r in results["errors"]}
    rows = [
        (
            f"`{preset}`",
            f"`{backend}`",
            f"{r['loss_error']:.1e}",
            f"{r['gradient_error']:.1e}",
            f"{errors[backend, preset, 'inside']['gradient_error']:.1e}",
        )
        for (backend, preset, temperature), r in errors.items()
        if temperature == "outside"
    ]
    return (
        f"Measured on n = {results['n']} patches of photographs, P = 8; {_source(results)};\n"
        "`python -m benchmarks.precision`.\n\n"
        + _table(("`precision`", "backend", "loss", "gradient", "gradient, temperature inside"), rows)
    )


def landmarks_cost() -> str:
    """What a step with landmarks costs, beside the exact ones."""
    results = _results("cpu")
    n = results["claims_at"]["speed"]
    names = [name for name in results["labels"] if name not in FLOOR]
    time, memory = ({name: curve(results, of, name) for name in names} for of in ("time", "memory"))
    best = min((name for name in names if name not in OURS), key=lambda name: time[name][n])
    sizes = [size for size in time["cpp_landmarks"] if size in (512, 2048) or size >= n]
    shown = ("cpp", "cpp_landmarks", best)
    rows = [
        (
            f"{size:,}",
            *(three_digits(1e3 * time[name][size]) if size in time[name] else "" for name in shown),
            *(three_digits(memory[name][size] / MIB) if size in memory[name] else "" for name in shown),
        )
        for size in sizes
    ]
    labels = [_label(name).replace("**dec_kernels, ", "").replace("**", "") for name in shown]
    (largest,) = (r for r in results["memory"] if r["competitor"] == "cpp_landmarks" and r["dim"] == SMALL_DIM)
    return (
        f"Forward and backward, P = 8; {_source(results)};\n`make bench`.\n\n"
        + _table(("n", *(f"{label}, ms" for label in labels), *(f"{label}, MiB" for label in labels)), rows)
        + f"\nMemory is the peak above the images and the returned gradient. With n = {largest['n']:,} and P = 4, one "
        f"forward and\nbackward took {two_digits(largest['seconds'])} s, "
        f"{three_digits(largest['extra_bytes'] / MIB)} MiB above the images, and "
        f"{three_digits(largest['peak_bytes'] / MIB)} MiB with all that the process held.\n"
    )


def landmarks_errors() -> str:
    """How exact the gradient is with landmarks."""
    results = _results("landmarks")
    n, errors = results["n"], of_cases(results, "gradient")
    cases = {
        **{f"{kind}, P = {PATCH_SIZE}": Case(kind, n) for kind in KINDS},
        **{f"bicubic, P = {p}": Case("bicubic", n, p) for p in PATCH_SIZES if p != PATCH_SIZE},
        **{
            f"bicubic, P = {PATCH_SIZE}, inside, `t_neg={t_neg}`": Case("bicubic", n, PATCH_SIZE, "inside", t_neg)
            for t_neg in T_NEGS
        },
    }
    counts = list(errors[Case(n=n)])
    rows = [(label, *(f"{errors[case][count]:.1e}" for count in counts)) for label, case in cases.items()]
    over_n = {case.n: of_case[LANDMARKS] for case, of_case in errors.items() if case == Case(n=case.n)}
    others = {kind: of_cases(results, kind)[Case(n=n)][LANDMARKS] for kind in ("qneg_rms", "qneg_largest", "loss")}
    headings = (*(f"m = {count}" if isinstance(count, int) else f"exact, `{count}`" for count in counts),)
    return (
        f"Relative error of the gradient in the 2-norm, n = {n}; {_source(results)};\n"
        "`python -m benchmarks.landmarks`.\n\n"
        + _table(("SR images and arguments", *headings), rows)
        + f"\nWith bicubic images, P = {PATCH_SIZE} and m = {LANDMARKS}, the error of Qneg is {others['qneg_rms']:.1e} "
        f"(root mean square over the\nrows) and {others['qneg_largest']:.1e} at most. That of the loss is "
        f"{others['loss']:.1e}. From n = {min(over_n)} to {max(over_n)}, that of the\ngradient is "
        f"{min(over_n.values()):.1e} to {max(over_n.values()):.1e}.\n"
    )


def enhancement() -> str:
    """What the paper's high-frequency enhancement does."""
    results = _results("enhancement")
    plain = results["records"][0]

    def of_loss(record: Mapping[str, Any], name: str) -> list[str]:
        norm = record[name]["gradient_norm"] / plain[name]["gradient_norm"]
        return [f"{100 * record[name]['share_beyond_lr']:.0f} %", three_digits(norm)]

    rows = [
        (
            "not enhanced" if r["mu"] is None else f"{r['mu']:g}",
            f"1 to {three_digits(r['largest_factor'])}",
            f"{r['lowest']:.1f} to {r['highest']:.1f}",
            *of_loss(r, "L1"),
            *of_loss(r, "DECLoss"),
        )
        for r in results["records"]
    ]
    headings = ("μ", "factors", "range of HR", "L1 beyond LR", "L1's norm", "DECLoss beyond LR", "DECLoss's norm")
    return (
        f"n = {results['n']} patches of photographs without black areas, crops of 128 x 128, SR by x4 bicubic "
        f"interpolation;\n{_source(results)};\n`python -m benchmarks.enhancement`.\n\n" + _table(headings, rows)
    )


def restoration() -> str:
    """What small networks make of noisy photographs."""
    results = _results("restoration")
    figures = {method: rows["mean"] for method, rows in results["figures"].items()}
    metrics = {"psnr_y": "PSNR Y", "psnr_rgb": "PSNR RGB", "ssim_y": "SSIM Y", "ssim_rgb": "SSIM RGB", "lpips": "LPIPS"}
    rows = [
        (
            method.replace("Input", "noisy input").replace(", tiles", f", in tiles of {results['tile']['side']}"),
            *(f"{row[name]:.{2 if name.startswith('psnr') else 4}f}" for name in metrics),
        )
        for method, row in figures.items()
    ]
    pulls = " and ".join(f"{pull:.2f}" for pull in results["pull_of_dec"].values())
    weights = " and ".join(name.split(" + ")[1].split()[0] for name in results["pull_of_dec"])
    return (
        f"Means over chelsea and coffee, every pixel measured;\n{_source(results)};\n"
        "the commands above.\n\n" + _table(("", *metrics.values()), rows) + "\n"
        f"At weight {weights}, DECLoss pulled at the output {pulls} times as hard as the PSNR loss.\n"
    )


def evidence() -> str:
    """The study's table, plot and crops; where there are none yet, a sentence that says so."""
    if not (RESULTS / "evidence.json").exists():
        return "The study has not been run yet, so this page has no results.\n"
    results = _results("evidence")
    by_group: dict[str, list[Any]] = {}
    for row in results["rows"]:
        by_group.setdefault(row["group"], []).append(row)
    start, table_1, controls = (by_group.pop(name, []) for name in ("before", "Table 1", "unsharp mask"))
    others = [row for rows in by_group.values() for row in rows]
    level = " to ".join(f"{point['psnr_y']:.2f} dB ({point['step']})" for point in results["stage_1"][-3:])
    return (
        f"Means over {len(results['images'])} held-out photographs and the seeds, with 95 % intervals of the "
        f"differences;\nplan `{results['plan']}`; {_source(results)}.\n\n"
        "![PSNR against LPIPS of all settings, with the curve of the unsharp masks]"
        "(../benchmarks/results/evidence.png)\n\n"
        "![The same places of held-out photographs by each method](../benchmarks/results/evidence_crops.png)\n\n"
        "**Table 1 of the paper**, with its weights, and what stage 2 starts from. In the last column are the paper's "
        f"PSNR and LPIPS.\nAt the last validations of stage 1, PSNR Y was {level}.\n\n"
        + _settings([*start, *table_1], theirs=True)
        + _pulls(table_1)
        + "\n**The control**: L1's outputs through unsharp masks.\n\n"
        + _settings(controls)
        + "\n**All other settings.** L1 has the weight 1, but 0.01 beside a whole Lp. The base is the same without "
        "DECLoss,\nor without its contrast.\n\n" + _settings(others) + _pulls(others)
    )


def _pulls(rows: Sequence[Any]) -> str:
    """How hard the loss terms of each row pulled at the output, beside the one that pulled hardest."""
    terms = {"l1": "L1", "perceptual": "Lp", "gan": "RaGAN", "dec": "DECLoss"}
    lines, unknown = [], False
    for row in rows:
        unknown |= not row["pulls"]
        if len(pulls := row["pulls"]) > 1:
            most = max(pulls.values())
            shares = {term: f"1 / {two_digits(most / pull)}" for term, pull in pulls.items() if pull < most}
            lines.append([row["name"], *(shares.get(term, "1" if term in pulls else "") for term in terms)])
    if not lines:
        return ""
    return (
        "\nWith these weights the terms pulled at the output as hard as follows (`..._pull` in the "
        "[log](training.md)), the hardest being 1."
        + (" Of the other\nrows that is not recorded.\n\n" if unknown else "\n\n")
        + _table(("", *terms.values()), lines)
    )


def _settings(rows: Sequence[Any], theirs: bool = False) -> str:
    """Rows of the study; the paper's figures in a last column if `theirs`."""
    metrics = [name for name in METRICS if name not in ("psnr_rgb", "ssim_y")]
    lines = []
    for row in rows:
        rivals = row["differences"]
        base = next((name for name in rivals if name != "L1"), None)
        cells = [
            row["name"],
            str(row["seeds"]),
            *(shown(metric, row["means"][metric]["mean"]) for metric in metrics),
            signed(rivals.get("L1")),
            *(signed(row.get("control", {}).get("differences"), metric) for metric in ("lpips", "ssim_y")),
            signed(rivals.get(base)),
        ]
        paper = PAPER.get(row["name"])
        lines.append(cells + ([f"{paper[0]:.2f}, {paper[1]:.3f}" if paper else ""] if theirs else []))
    headings = (
        "", "seeds", *(METRICS[metric].heading for metric in metrics), "LPIPS less L1's", "LPIPS less the mask's",
        "SSIM less the mask's", "LPIPS less the base's", *(["the paper's"] if theirs else []),
    )  # fmt: skip
    return _table(headings, lines)


def scaling() -> str:
    """Several processes on a CPU, beside the model."""
    results = _results("scaling")["measured"]
    cost, steps = results["costs"], {(r["processes"], r["n_local"]): r for r in results["steps"]}
    rows = []
    for processes, n in [(1, 4096), (2, 4096), (4, 1024), (4, 2048), (4, 4096)]:
        r, model = steps[processes, n], steps[processes, n]["model"]
        fitted = " (fitted)" if processes == 2 else ""
        rows.append(
            (
                str(processes),
                str(n),
                three_digits(1e3 * r["cpu"]["median"]),
                three_digits(1e3 * model["cpu_seconds"]) + fitted,
                f"{max(r['received_bytes']):,}",
                f"{model['received_bytes']:,}",
                three_digits(max(r["extra_bytes"]) / MIB),
                three_digits(model["extra_bytes"] / MIB),
            )
        )
    headings = (
        "processes", "patches of each", "CPU ms of each", "model", "bytes received", "model", "extra MiB", "model",
    )  # fmt: skip
    return (
        f"One thread a process, gloo, D = 192, `cpp`, float32; {_source(results)};\n`python -m benchmarks.scaling`.\n\n"
        + _table(headings, rows)
        + f"\nThe two costs of the model are {1e9 * cost['pair']:.0f} ns a pair and {1e6 * cost['column']:.0f} µs a "
        f"column. {_misses(results['steps'])}\n\nA step with {LANDMARKS} landmarks received "
        f"{_more_received(results['steps'])} bytes more, in every process.\n"
    )


def _misses(steps: Sequence[Mapping[str, Any]]) -> str:
    """How far the model is off where it was not fitted."""

    def off(processes: int) -> str:
        ratios = [r["cpu"]["median"] / r["model"]["cpu_seconds"] for r in steps if r["processes"] == processes]
        return f"{min(ratios):.2f} to {max(ratios):.2f}"

    return (
        f"The measured CPU time is {off(4)} times the\nmodel's with four processes, and {off(1)} times with one, where "
        "the symmetry of z·z' saves one of six\nproducts."
    )


def _more_received(steps: Sequence[Mapping[str, Any]]) -> str:
    """The bytes that landmarks add, from the least to the most."""
    found = [
        more - less
        for r in steps
        for more, less in zip(r["received_bytes_with_landmarks"], r["received_bytes"], strict=True)
    ]
    return str(found[0]) if min(found) == max(found) else f"{min(found)} to {max(found)}"


def scaling_predicted() -> str:
    """The same for GPUs."""
    results = _results("scaling")["predicted"]
    rows = []
    for r in results["steps"]:
        if r["gpus"] not in (8, 64, 1024):
            continue
        rows.append(
            (
                str(r["gpus"]),
                r["configuration"].replace("precision ", "`") + "`",
                scientific(r["pairs"]),
                _between(r["walk_seconds"]),
                _between(r["with_landmarks"]["seconds"]),
                two_digits(1e3 * r["preparation_seconds"]),
                two_digits(r["received_bytes"] / 1e9),
                _between(r["communication_seconds"]),
                two_digits(r["memory_bytes"]["total"] / 1e9),
                two_digits(r["with_landmarks"]["memory_bytes"] / 1e9),
            )
        )
    headings = (
        "GPUs", "images and precision", "pairs of each", "pairs, ms", f"{LANDMARKS} landmarks, ms",
        "preparing columns, ms", "received, GB", "communication, ms", "memory, GB", "with landmarks, GB",
    )  # fmt: skip
    return f"{results['what']}.\n\n" + _table(headings, rows)


def cycles() -> str:
    """The sum of all kernels of a step, as the cycle model has it."""
    results = _results("cycles")
    n, dim = 8192, 192
    step: dict[tuple[str, str], list[float]] = {}
    for r in results["predictions"]:
        if (r["n"], r["dim"]) == (n, dim):
            total = step.setdefault((r["gpu"], r["precision"]), [0.0, 0.0])
            total[:] = [a + b for a, b in zip(total, r["seconds"], strict=True)]
    rows = [
        (gpu, *(_between(step[gpu, preset]) for preset in PRESETS)) for gpu in dict.fromkeys(gpu for gpu, _ in step)
    ]
    return f"{results['what']}. Milliseconds of all kernels of a step, n = {n}, D = {dim}:\n\n" + _table(
        ("GPU", *(f"`{preset}`" for preset in PRESETS)), rows
    )


def _between(seconds: Sequence[float]) -> str:
    low, high = (two_digits(1e3 * s) for s in seconds)
    return low if low == high else f"{low} to {high}"


def two_digits(value: float) -> str:
    """Two significant digits, without an exponent."""
    rounded = float(f"{value:.2g}")
    return f"{rounded:,.0f}" if rounded >= 10 else f"{rounded:#.2g}"


def scientific(value: float) -> str:
    return f"{value:.1e}".replace("e+0", "e").replace("e+", "e")


BLOCKS: dict[str, Callable[[], str]] = {
    "cpu": cpu,
    "cpu_sizes": cpu_sizes,
    "costs": costs,
    "precision": precision,
    "landmarks_cost": landmarks_cost,
    "landmarks_errors": landmarks_errors,
    "enhancement": enhancement,
    "evidence": evidence,
    "restoration": restoration,
    "scaling": scaling,
    "scaling_predicted": scaling_predicted,
    "cycles": cycles,
}


def main() -> None:
    for page in pages():
        text = page.read_text()
        if (new := updated(text)) != text:
            page.write_text(new)
            print(f"{page.relative_to(ROOT)} has new figures")


if __name__ == "__main__":
    main()
