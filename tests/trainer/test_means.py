import math

import pytest

from dec_kernels.trainer.means import CAP, describe, left_out, mean_figures, score

PLAIN = {"psnr_y": 30.0, "psnr_rgb": 28.0, "ssim_y": 0.75}
OTHER = {"psnr_y": 20.0, "psnr_rgb": 18.0, "ssim_y": 0.25}
EXACT = {"psnr_y": math.inf, "psnr_rgb": math.inf, "ssim_y": 1.0}
NO_NUMBER = dict.fromkeys(PLAIN, math.nan)


def test_each_mean_is_over_the_images_that_have_it() -> None:
    assert mean_figures([PLAIN, OTHER]) == {"psnr_y": 25.0, "psnr_rgb": 23.0, "ssim_y": 0.5}
    assert mean_figures([PLAIN, EXACT]) == {"psnr_y": 30.0, "psnr_rgb": 28.0, "ssim_y": 0.875}
    assert mean_figures([NO_NUMBER, OTHER]) == OTHER
    assert mean_figures([EXACT, EXACT, NO_NUMBER]) == EXACT
    assert all(map(math.isnan, mean_figures([NO_NUMBER]).values()))


def test_what_is_left_out_is_counted_and_said() -> None:
    nothing = left_out({"a": PLAIN, "b": OTHER})
    assert nothing == {"images": 2, "exact": {}, "nonfinite": []}
    assert describe("Net", nothing) == []
    some = left_out({"a": PLAIN, "b": EXACT, "c": EXACT | {"psnr_rgb": 60.0}, "d": NO_NUMBER})
    assert some == {"images": 4, "exact": {"psnr_y": 2, "psnr_rgb": 1}, "nonfinite": ["d"]}
    exact, nonfinite = describe("Net", some)
    assert exact == "Net: the mean leaves out exact images: PSNR Y of 2, PSNR RGB of 1 of 4"
    assert nonfinite == "Net: NaN or infinite pixels, so no figures, in 1 of 4: d"
    assert describe("Net", left_out({"a": EXACT, "b": EXACT})) == ["Net: every image is exact"]
    many = left_out({f"image{n}": NO_NUMBER for n in range(7)})
    assert describe("Net", many)[0].endswith("in 7 of 7: image0, image1, image2, image3, image4 and 2 more")


def test_the_score_can_always_rise() -> None:
    assert score([PLAIN, OTHER]) == 25.0
    assert score([PLAIN, EXACT]) == score([PLAIN, {"psnr_y": CAP + 20}]) == (30 + CAP) / 2
    better = PLAIN | {"psnr_y": 31.0}
    # That of the other image counts, whether the exact one stays exact or not.
    assert score([PLAIN, {"psnr_y": 100.0}]) < score([better, EXACT])
    assert score([PLAIN, EXACT]) < score([better, {"psnr_y": 100.0}])
    assert score([EXACT]) == CAP
    assert math.isnan(score([PLAIN, NO_NUMBER]))


@pytest.mark.parametrize("row", [EXACT, NO_NUMBER])
def test_the_order_of_the_images_does_not_matter(row: dict[str, float]) -> None:
    assert mean_figures([row, PLAIN]) == mean_figures([PLAIN, row])
