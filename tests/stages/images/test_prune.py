from stages.images.prune import YOUNG_SECONDS, Kept, keep, superfluous


def test_young_images_and_needed_ones_stay():
    old, young = YOUNG_SECONDS + 1, YOUNG_SECONDS - 1
    images = [Kept("m:a", "a", old), Kept("m:b", "b", old), Kept("m:c", "c", young), Kept("m:d", "d", old)]
    assert superfluous(images, {"a"}) == ["m:b", "m:d"]
    assert superfluous(images, {"a", "b", "d"}) == []


def test_at_least_one_is_kept(monkeypatch):
    monkeypatch.delenv("MLCI_KEEP_IMAGES", raising=False)
    assert keep() == 3
    for text, kept in (("7", 7), ("0", 1)):
        monkeypatch.setenv("MLCI_KEEP_IMAGES", text)
        assert keep() == kept
