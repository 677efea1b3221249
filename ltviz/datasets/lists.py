"""Sets that come as list files: ImageNet-LT, Places-LT, iNaturalist, and whatever is listed as they are."""

import json
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .. import check
from . import sources, store
from .folder import checked, data_of
from .longtailed import LongTailed
from .tree import Found, Tree, listed

LINE = '"path label", the label a whole number from 0 on'
MISSING = "there is no such file"


class _Listed(NamedTuple):
    """What a list holds: (path, label) of each image, and the names of labels where it has them."""

    images: list[tuple[str, int]]
    names: dict[int, str]


def list_lt(
    train: str | Path, test: str | Path, val: str | Path | None = None, root: str | Path | None = None,
    size: int | None = None, names: str | Path | Sequence[str] | Mapping[int, str] | None = None,
    ratio: float | None = None, n_max: int | None = None, profile: str = "exp", seed: int = 0,
    class_order: str | Sequence[int | str] = "count", validation: float = 0.1, pad: int | None = None,
    flip: bool = True, on_error: str = "raise", memory: float | None = None,
    mean: Sequence[float] | None = None, std: Sequence[float] | None = None,
) -> LongTailed:  # fmt: skip
    """Images named in list files, as they are published for ImageNet-LT, Places-LT and iNaturalist.

    train, test, val: files with a line "path label" an image (ImageNet_LT_train.txt, Places_LT_val.txt,
    iNaturalist18_train.txt: Liu et al. 2019, Kang et al. 2020), or .json files with images, annotations and categories
    (train2018.json of iNaturalist). Without val, `validation` is held out of the training images: a share of each class
    (at least one image), a whole number, or 0. The training list keeps its counts, unless ratio= cuts its tail.
    root: the folder that the paths start from; None: the one that holds the training list.
    names: of the classes, as a file with one a line in the order of the labels, or "name label" a line
    (categories_places365.txt), or a .json of them; as a list or {label: name}. None: those of a .json list, else the
    labels. Where a name stands for several labels, the label is added.
    size: side in pixels; needed unless all images have one size. All else as in `folder_lt`: on_error="skip" leaves out
    files that are missing or cannot be read, images beyond memory= stay on the disk, and `data.folder` has the report.
    The groups of these sets: `lt.metrics.shot_groups(data)`, with convention="oltr" as Liu et al. have them.

    Raises FileNotFoundError for a list that is not there and where root has none of the images; ValueError for a line
    that is none, for images that are missing, all at once, and for lists with different classes.
    """
    asked, bound = checked(
        ratio=ratio, size=size, n_max=n_max, profile=profile, seed=seed, class_order=class_order, validation=validation,
        test=0, pad=pad, flip=flip, on_error=on_error, memory=memory, mean=mean, std=std)  # fmt: skip
    given = {"train": train, "val": val, "test": test}
    files = {part: check.path(part, value) for part, value in given.items() if part != "val" or value is not None}
    folder = files["train"].parent if root is None else check.path("root", root)
    found = {part: _read(part, file) for part, file in files.items()}
    labels = _labels(found, files)
    named = _named(names, labels, {label: name for one in found.values() for label, name in one.names.items()})
    tree = _tree(files["train"], folder, found, named)
    if asked["on_error"] == "raise":
        store.refuse_bad(tree.bad, ', or pass on_error="skip"')
    spec = dict(
        loader="list_lt", names=_plain_names(names), root=None if root is None else str(Path(root)),
        **{part: None if value is None else str(Path(value)) for part, value in given.items()},
    )  # fmt: skip
    return data_of(tree, files["train"].stem, spec, asked, bound)


def _read(part: str, file: Path) -> _Listed:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"{part}={str(file)!r}: there is no such file; give the list of its images") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{part}={str(file)!r} cannot be read as a list in UTF-8 ({error})") from None
    found = _from_json(part, file, text) if file.suffix.lower() == ".json" else _Listed(_from_lines(file, text), {})
    if not found.images:
        raise ValueError(f"{part}={str(file)!r} lists no image; expected a line {LINE}")
    return found


def _from_lines(file: Path, text: str) -> list[tuple[str, int]]:
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        path, label = [*line.rsplit(None, 1), ""][:2]
        if not re.fullmatch("[0-9]{1,9}", label):
            raise ValueError(f"{file}, line {number}: {check.shown(line)} is not {LINE}")
        found.append((path.strip(), int(label)))
    return found


def _from_json(part: str, file: Path, text: str) -> _Listed:
    """Images, annotations and categories as COCO and iNaturalist have them: one annotation an image."""
    try:
        whole = json.loads(text)
        paths = {one["id"]: str(one["file_name"]) for one in whole["images"]}
        pairs = [(one["image_id"], one["category_id"]) for one in whole["annotations"]]
        names = {one["id"]: str(one["name"]) for one in whole.get("categories", [])}
    except json.JSONDecodeError as error:
        raise ValueError(f"{file} is no whole JSON file ({error}); copy or download it again") from None
    except (KeyError, TypeError, AttributeError) as error:
        lacks = f"; it lacks {error}" if isinstance(error, KeyError) else ""
        raise ValueError(
            f"{file}: expected images (id, file_name), annotations (image_id, category_id) and categories (id, name)"
            f"{lacks}. A list without annotations, such as test2018.json, cannot be {part}="
        ) from None
    labels: dict[Any, int] = {}
    for image, label in pairs:
        check.whole(f"{file.name}: category_id", label)
        if image not in paths:
            raise ValueError(f"{file}: an annotation is of image {check.shown(image)}, which is not among the images")
        if labels.setdefault(image, label) != label:
            raise ValueError(
                f"{file}: {paths[image]} is of categories {labels[image]} and {label}; expected one an image, and not "
                "the boxes of a detection set"
            )
    without = [path for image, path in paths.items() if image not in labels]
    if without:
        raise ValueError(f"{file}: {check.many(len(without), 'image')} without an annotation ({listed(without, 3)})")
    return _Listed([(paths[image], label) for image, label in labels.items()], names)


def _labels(found: dict[str, _Listed], files: dict[str, Path]) -> list[int]:
    """The labels of the training list, in order; ValueError where another list has others."""
    labels = {part: {label for _, label in one.images} for part, one in found.items()}
    known = labels["train"]
    if len(known) < 2:
        raise ValueError(f"{files['train']} lists one class, at least 2 needed")
    for part, own in labels.items():
        more, less = (listed([str(one) for one in sorted(these)]) for these in (own - known, known - own))
        if more:
            raise ValueError(f"{files[part]} has labels that {files['train'].name} lacks: {more}; without training "
                             "images a class cannot be learned")  # fmt: skip
        if less:
            raise ValueError(f"{files[part]} has no image of labels {less}: without {part} images a class has no "
                             "accuracy; give the lists that belong together")  # fmt: skip
    return sorted(known)


def _tree(cache: Path, root: Path, found: dict[str, _Listed], named: dict[int, str]) -> Tree:
    """Every image that is listed, or what is wrong with it. cache: names where decoded images are kept."""
    tree = Tree(cache, list(named.values()))
    for part, one in found.items():
        for name, label in one.images:
            entered(tree, part, named[label], root, name)
    if not tree.files and MISSING in tree.bad.values():
        raise FileNotFoundError(
            f"root={str(root)!r} has none of the {len(tree.bad):,} images that are listed, such as "
            f"{next(iter(tree.bad))}; pass root= the folder that the paths start from"
        )
    return tree


def entered(tree: Tree, part: str, class_name: str, root: Path, name: str) -> None:
    """Enter a file that is listed by name among the images of a tree, or what is wrong with it."""
    path = os.path.join(root, name)
    try:
        state = os.stat(path)
    except (OSError, ValueError):
        tree.bad[name] = MISSING
        return
    if not os.path.isfile(path):
        tree.bad[name] = "not an ordinary file"
    elif not sources.is_image(os.path.basename(path)):
        tree.bad[name] = "no kind of image that is known; save it as PNG"
    else:
        version = state.st_size, state.st_mtime_ns, state.st_ctime_ns
        tree.files.append(Found(part, class_name, path, name, version))


def _named(given: Any, labels: list[int], own: dict[int, str]) -> dict[int, str]:
    """The name of each label, in their order; no two alike."""
    if given is not None:
        own = _names_of(given)
        lacking = [str(label) for label in labels if label not in own]
        if lacking:
            raise ValueError(f"names: expected one for each label of the lists; there is none for {listed(lacking)}")
    found = {label: own.get(label, str(label)) for label in labels}
    return distinct(found)


def distinct(names: dict[Any, str]) -> dict[Any, str]:
    """The same names, with the key added to those that stand for several."""
    often = Counter(names.values())
    found = {key: name if often[name] == 1 else f"{name} ({key})" for key, name in names.items()}
    return found if len(set(found.values())) == len(found) else {key: f"{name} ({key})" for key, name in names.items()}


def _names_of(given: Any) -> dict[int, str]:
    expected = 'names of the classes: a list in the order of the labels, {label: name}, or a file with "name" a line'
    if isinstance(given, (str, os.PathLike)):
        given = _names_in(check.path("names", given))
    try:
        if isinstance(given, Mapping):
            pairs = [(int(label), name) for label, name in given.items() if re.fullmatch("[0-9]{1,9}", str(label))]
            complete = len(pairs) == len(given)
        else:
            complete = isinstance(given, Sequence) and not isinstance(given, bytes)
            pairs = list(enumerate(given))
        # Of {"0": ["n01440764", "tench"]}, as ImageNet's classes are published, the last is the name.
        last = {label: one[-1] if isinstance(one, (list, tuple)) else one for label, one in pairs}
        if complete and last:
            return {label: check.text("names", one).strip() for label, one in last.items()}
    except (TypeError, ValueError, IndexError):
        pass
    raise check.refuse("names", given, expected)


def _names_in(file: Path) -> Any:
    """The names that a file has: JSON, one a line, or "name label" a line."""
    try:
        text = file.read_text(encoding="utf-8-sig")
        if file.suffix.lower() == ".json":
            return json.loads(text)
    except FileNotFoundError:
        raise FileNotFoundError(f"names={str(file)!r}: there is no such file") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"names={str(file)!r} cannot be read ({error})") from None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    numbered = [re.fullmatch(r"(.*\S)\s+([0-9]{1,9})", line) for line in lines]
    found = {int(one[2]): one[1] for one in numbered if one}
    return found if lines and sorted(found) == list(range(len(lines))) else lines


def _plain_names(names: Any) -> Any:
    """As JSON can keep it."""
    if names is None or isinstance(names, (str, os.PathLike)):
        return None if names is None else str(names)
    if isinstance(names, Mapping):
        return {str(label): str(name) for label, name in names.items()}
    return [str(name) for name in names]
