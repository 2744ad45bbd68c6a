import json
import math
import os
from pathlib import Path

import pytest

from dec_kernels.trainer.files import require_folder, write_file, write_json


def test_a_folder_to_write_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_folder(tmp_path, "--out")
    require_folder(tmp_path / "new" / "deeper", "--out")
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "deeper"):
        with pytest.raises(ValueError, match=r"--out .*file.* must be a folder, and .*file is a file"):
            require_folder(path, "--out")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(ValueError, match=r"--out .*deeper: the folder .* cannot be written to"):
        require_folder(tmp_path / "new" / "deeper", "--out")


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_file_is_the_old_or_the_new_one(tmp_path: Path, failing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_file(path, b"old")

    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(OSError, match="no space left"):
        write_file(path, b"new")
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"old"
    monkeypatch.undo()
    write_file(path, b"new")
    assert path.read_bytes() == b"new"


def test_json_has_null_for_what_is_not_finite(tmp_path: Path) -> None:
    write_json(tmp_path / "new" / "rows.json", {"a": {"psnr_y": math.inf, "ssim_y": 0.1 + 0.2}, "b": math.nan})
    content = json.loads((tmp_path / "new" / "rows.json").read_text())
    assert content == {"a": {"psnr_y": None, "ssim_y": 0.1 + 0.2}, "b": None}
