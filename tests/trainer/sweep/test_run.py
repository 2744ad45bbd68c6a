import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from dec_kernels.console import CLOSED_PIPE
from dec_kernels.trainer import cli
from tests.trainer.sweep.conftest import FIGURES, FOLDERS, FakeFit
from tests.trainer.sweep.helpers import main, refusal


def test_an_unknown_name_lists_the_shipped_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = refusal(["--config", "treshold", "--out", str(tmp_path)], capsys)
    assert all(name in error for name in ("'treshold'", "patches", "perception_distortion", "temperatures"))


def test_an_unknown_base_lists_the_shipped_ones(
    call: list[str], base: Path, fit: FakeFit, capsys: pytest.CaptureFixture[str]
) -> None:
    base.unlink()
    said = refusal(call, capsys)
    assert all(name in said for name in ("demo_stage1, ", "paper_l1, ", "swinir_stage1"))
    assert not fit.trained()


def test_trains_each_run_by_itself(call: list[str], base: Path, fit: FakeFit, tmp_path: Path) -> None:
    out = tmp_path / "out"
    handed_on = ["--data.seed", "7", "--figure"]  # not --figure-only for short
    assert main([*call, *handed_on]) == 0
    own = [["30.0"], ["40.0"], ["34.0", "--data.batch_size=8"]]
    for sent, folder, (threshold, *more) in zip(fit.calls, FOLDERS, own, strict=True):
        assert sent[:7] == ["fit", "--config", str(base), "--out", str(out / folder), "--resume", "auto"]
        settings = ["--model.learning_rate=0.001", f"--model.dec.init_args.threshold={threshold}", *more]
        assert sent[7:] == [*settings, *handed_on]
    results = json.loads((out / "results.json").read_text())
    assert results["title"] == "A title [with brackets]"
    assert [*results["runs"]] == ["30 dB", "40 dB", "34/8"]
    assert results["runs"]["34/8"] == {
        "settings": {"model.learning_rate": 1e-3, "model.dec.init_args.threshold": 34.0, "data.batch_size": 8},
        "step": 2,
        "epoch": 1,
        "figures": FIGURES,
    }
    assert Image.open(out / "figure.png").size[0] > 1000


def test_what_is_finished_is_not_trained_again(
    call: list[str], base: Path, fit: FakeFit, capsys: pytest.CaptureFixture[str]
) -> None:
    main(call)
    assert fit.trained() == FOLDERS
    base.write_text("# a comment\n" + base.read_text())
    capsys.readouterr()
    assert main(call) == 0
    assert fit.trained() == []
    printed = capsys.readouterr().out
    assert "40 dB (2 of 3) is finished" in printed
    assert "28.00" in printed


def test_other_settings_do_not_take_old_results(
    call: list[str], file: Path, base: Path, fit: FakeFit, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(call)
    fit.trained()
    text, base_text = file.read_text(), base.read_text()
    file.write_text(text.replace("34.0", "35.0"))
    error = refusal(call, capsys)
    assert f"{tmp_path / 'out' / '34_8'} holds another training" in error
    assert "threshold=34.0" in error
    assert "threshold=35.0" in error
    file.write_text(text)
    assert "now --model.learning_rate=0.001" in refusal([*call, "--data.seed", "1"], capsys)
    base.write_text(base_text.replace("1.0", "2.0"))
    assert "the base config was another one" in refusal(call, capsys)
    base.write_text(base_text)
    (tmp_path / "out" / "30_dB" / "sweep.json").unlink()
    assert "without a sweep.json" in refusal(call, capsys)
    assert fit.trained() == []


def test_settings_may_change_where_nothing_was_trained(call: list[str], fit: FakeFit, tmp_path: Path) -> None:
    (tmp_path / "out" / "30_dB").mkdir(parents=True)
    assert main(call) == 0
    assert fit.trained() == FOLDERS


def raise_value_error() -> int:
    raise ValueError("no such image")


@pytest.mark.parametrize(
    ("end", "reason"),
    [(raise_value_error, "ValueError: no such image"), (lambda: 2, "exit status is 2")],
)
def test_a_failure_does_not_stop_the_others(
    end: Callable[[], int],
    reason: str,
    call: list[str],
    fit: FakeFit,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fit.ends["40_dB"] = end
    assert main(call) == 1
    assert fit.trained() == FOLDERS
    assert "40 dB failed: " in (error := capsys.readouterr().err)
    assert reason in error.splitlines()[-1]
    results = json.loads((tmp_path / "out" / "results.json").read_text())["runs"]
    assert [name for name, result in results.items() if "error" in result] == ["40 dB"]
    assert (tmp_path / "out" / "figure.png").exists()

    fit.ends.clear()
    assert main(call) == 0
    assert fit.trained() == ["40_dB"]


def test_a_training_without_a_summary_failed(
    call: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "main", lambda argv: 0)
    assert main(call) == 1
    error = capsys.readouterr().err
    assert "30 dB failed: it ended without a summary.json" in error
    assert "no figure: PSNR Y and LPIPS were measured in no run" in error


def test_a_closed_pipe_ends_the_sweep(call: list[str], fit: FakeFit) -> None:
    """What the training wrote to it is gone, and so is the pipe: nothing else would end here."""
    fit.ends["40_dB"] = lambda: CLOSED_PIPE
    with pytest.raises(SystemExit, match=str(CLOSED_PIPE)):
        main(call)
    assert fit.trained() == ["30_dB", "40_dB"]


def test_ctrl_c_ends_the_sweep(
    call: list[str], fit: FakeFit, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit.ends["40_dB"] = lambda: 130
    assert main(call) == 130
    assert fit.trained() == ["30_dB", "40_dB"]
    assert "the same command goes on" in capsys.readouterr().err
    assert [*json.loads((tmp_path / "out" / "results.json").read_text())["runs"]] == ["30 dB"]
    fit.ends.clear()
    assert main(call) == 0
    assert fit.trained() == ["40_dB", "34_8"]


@pytest.mark.parametrize("spelling", [["--data.batch_size=4"], ["--data.batch_size", "4"]])
def test_what_the_sweep_sets_cannot_be_set(
    spelling: list[str], call: list[str], fit: FakeFit, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "--data.batch_size is what the sweep sets itself" in refusal([*call, *spelling], capsys)
    assert fit.trained() == []


def test_a_real_sweep(tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(f"""
title: Weight of DECLoss
base: {tiny_config}
figure: {{kind: line, metrics: [psnr_y, ssim_y], x: {{label: weight, setting: model.dec_weight}}}}
runs:
  "0": {{model.dec_weight: 0.0}}
  "1": {{model.dec_weight: 1.0}}
""")
    argv = ["--config", str(file), "--out", str(tmp_path / "out"), "--data.seed", "3"]
    assert main(argv) == 0
    results = json.loads((tmp_path / "out" / "results.json").read_text())["runs"]
    assert [result["step"] for result in results.values()] == [2, 2]
    psnr = [result["figures"]["psnr_y"] for result in results.values()]
    assert psnr[0] != psnr[1]
    capsys.readouterr()
    assert main(argv) == 0
    assert f"{psnr[0]:.2f}" in capsys.readouterr().out


def test_figure_only_draws_what_is_there(call: list[str], file: Path, fit: FakeFit, tmp_path: Path) -> None:
    main([*call, "--data.seed", "7"])
    fit.trained()
    picture = tmp_path / "out" / "figure.png"
    picture.unlink()
    file.write_text(file.read_text().replace("threshold [dB]", "another label"))
    assert main([*call, "--figure-only"]) == 0
    assert picture.exists()
    assert fit.trained() == []


def test_figure_only_takes_no_other_results(
    call: list[str], file: Path, fit: FakeFit, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "results.json: train first" in refusal([*call, "--figure-only"], capsys)
    main(call)
    assert "--data.seed 7 has no meaning" in refusal([*call, "--figure-only", "--data.seed", "7"], capsys)
    file.write_text(file.read_text().replace("34.0", "35.0"))
    assert "'34/8' in " in refusal([*call, "--figure-only"], capsys)


def test_a_plane_needs_both_metrics(
    call: list[str], file: Path, fit: FakeFit, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figure = next(line for line in file.read_text().splitlines() if line.startswith("figure"))
    file.write_text(file.read_text().replace(figure, "figure: {kind: plane}"))
    del fit.figures["lpips"]
    assert main(call) == 1
    error = capsys.readouterr().err
    assert "no figure" in error
    assert "LPIPS was not measured" in error
    assert (tmp_path / "out" / "results.json").exists()
    assert not (tmp_path / "out" / "figure.png").exists()


@pytest.mark.parametrize("content", ["{", "[]", '{"runs": 3}', "{}"])
def test_a_damaged_record_is_named(
    call: list[str], fit: FakeFit, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    main(call)
    (tmp_path / "out" / "results.json").write_text(content)
    assert "results.json" in refusal([*call, "--figure-only"], capsys)
    fit.trained()
    (tmp_path / "out" / "30_dB" / "summary.json").write_text("{")
    assert main(call) == 1
    assert f"{tmp_path / 'out' / '30_dB' / 'summary.json'} is damaged" in capsys.readouterr().err
    (tmp_path / "out" / "30_dB" / "sweep.json").write_text("")
    assert "sweep.json is damaged" in refusal(call, capsys)
    assert not fit.trained()


def test_files_that_are_no_folder_or_no_text(call: list[str], file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"--out {file} must be a folder" in refusal([*call[:-1], str(file)], capsys)
    file.write_bytes(bytes(range(256)))
    assert f"{file} is no sweep: 'utf-8'" in refusal(call, capsys)


def test_numbers_that_json_has_not_are_no_change_of_the_settings(
    call: list[str], base: Path, file: Path, fit: FakeFit, tmp_path: Path
) -> None:
    base.write_text(base.read_text() + "\nextra: [.inf, .nan]\n")
    for _ in range(2):
        assert main(call) == 0

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    for path in (tmp_path / "out").rglob("*.json"):
        json.loads(path.read_text(), parse_constant=refuse)
    assert fit.trained() == FOLDERS
