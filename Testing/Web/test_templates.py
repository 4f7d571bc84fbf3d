"""The check of templates, in a real browser: a folder of annotated scans is opened, and compared."""

from deepfeatures.io.landmark_files import write_landmarks
from deepfeatures.io.volume_files import write_volume
from deepfeatures.phantom import make_pair


def test_annotated_scans_of_a_folder_are_compared_as_templates(visitors, server, tmp_path):
    template, landmarks, target, truth = make_pair(48)
    for name, volume, points in (("one", template, landmarks), ("two", target, truth), ("three", template, landmarks)):
        write_volume(volume, tmp_path / f"{name}.nii.gz")
        write_landmarks(points, tmp_path / f"{name}.mrk.json")
    (tmp_path / "three.mrk.json").rename(tmp_path / "three.json")
    visitor = visitors(server.url)
    visitor.page.get_by_role("tab", name="Quality").click()

    def open_folder(folder):
        with visitor.page.expect_file_chooser() as chooser:
            visitor.page.get_by_role("button", name="Open folder").click()
        chooser.value.set_files(str(folder))

    (tmp_path / "empty").mkdir()
    write_volume(template, tmp_path / "empty/one.nii.gz")
    open_folder(tmp_path / "empty")
    visitor.wait_until("state('message') != ''", 120)
    assert visitor.state("message").startswith("The folder holds no landmarks")
    (tmp_path / "empty/one.nii.gz").unlink()
    (tmp_path / "empty").rmdir()
    open_folder(tmp_path)
    visitor.wait_until("state('template_rows').length == 3 && !state('is_busy')", 240)
    assert visitor.state("message") == ""
    assert "template" in visitor.page.locator(".template-advice").inner_text()
    visitor.picture("1-compared")
    with visitor.page.expect_download() as download:
        visitor.page.get_by_role("button", name="Their points (CSV)").click()
    assert download.value.path().read_text().startswith("template,landmark,targets")
