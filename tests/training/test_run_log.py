"""What a run tells while it goes: one line each, with every letter of a name or an advice."""

import sys

from pagoda.training.run_log import RunLog


def test_names_and_advice_are_told_as_they_are(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    log = RunLog(tmp_path, total_steps=2)
    log.say(f"skipped: {'a_long_folder/' * 12}frame[red]_1.png is cut off")
    log.close()
    said = capsys.readouterr().err
    assert f"skipped: {'a_long_folder/' * 12}frame[red]_1.png is cut off\n" in said
    assert "pip install 'pagoda-vision[tensorboard]'" in " ".join(said.split())
