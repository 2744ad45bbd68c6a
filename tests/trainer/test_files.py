import os
from pathlib import Path

import pytest

from dec_kernels.trainer.files import require_folder


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
