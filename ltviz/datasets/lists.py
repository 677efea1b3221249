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
    class_order: str | Sequence[int | str] = "count", validation: float = 0, pad: int | None = None,
    flip: bool = True, on_error: str = "raise", memory: float | None = None,
    mean: Sequence[float] | None = None, std: Sequence[float] | None = None,
) -> LongTailed:  # fmt: skip
    """Images named in list files, as they are published for ImageNet-LT, Places-LT and iNaturalist.

    train, test, val: files with a line "path label" an image (ImageNet_LT_train.txt, Places_LT_val.txt,
    iNaturalist18_train.txt: Liu et al. 2019, Kang et al. 2020), or .json files with images, annotations and categories
    (train2018.json of iNaturalist). A list names a file once. Without val there is no validation, and the training list
    keeps its counts, unless ratio= cuts its tail; `validation` holds some out of the training images: a share of each
    class (at least one image), or a whole number. Methods that need feedback from validation ask for it.
    root: the folder that the paths start from; None: the one that holds the training list.
    names: of the classes, as a file with one a line in the order of the labels, or "name label" or "label name" a line
    (categories_places365.txt), or a .json of them; as a list or {label: name}. A list or a file without labels has one
    for each of 0 .. the largest label, and none beyond. None: those of the .json lists, else the labels. Where a name
    stands for several labels, the label is added.
    size: side in pixels; needed unless all images have one size. All else as in `folder_lt`: on_error="skip" leaves out
    files that are missing or cannot be read, images beyond memory= stay on the disk, and `data.folder` has the report.
    The groups of these sets: `lt.metrics.shot_groups(data)`, with convention="oltr" as Liu et al. have them; they go by
    the counts that are trained on, so validation= and ratio= change them.

    Raises FileNotFoundError for a list that is not there and where root has none of the images; ValueError for a line
    that is none, for a file that a list names twice, for images that are missing, all at once, and for lists with
    different classes, or with other names or folders of one label.
    """
    asked, bound = checked(
        ratio=ratio, size=size, n_max=n_max, profile=profile, seed=seed, class_order=class_order, validation=validation,
        test=0, pad=pad, flip=flip, on_error=on_error, memory=memory, mean=mean, std=std)  # fmt: skip
    if val is not None and asked["validation"]:
        raise check.refuse("validation", validation, "0 where val= lists the images to validate on; leave one out")
    given = {"train": train, "val": val, "test": test}
    files = {part: check.path(part, value) for part, value in given.items() if part != "val" or value is not None}
    folder = files["train"].parent if root is None else check.path("root", root)
    found = {part: _read(part, file) for part, file in files.items()}
    labels = _labels(found, files)
    named = _named(names, labels, _own_names(found, files))
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
        images = [(one["id"], str(one["file_name"])) for one in whole["images"]]
        pairs = [(one["image_id"], one["category_id"]) for one in whole["annotations"]]
        categories = [(one["id"], str(one["name"]).strip()) for one in whole.get("categories", [])]
        paths, names = dict(images), dict(categories)
    except json.JSONDecodeError as error:
        raise ValueError(f"{file} is no whole JSON file ({error}); copy or download it again") from None
    except (KeyError, TypeError, AttributeError) as error:
        lacks = f"; it lacks {error}" if isinstance(error, KeyError) else ""
        raise ValueError(
            f"{file}: expected images (id, file_name), annotations (image_id, category_id) and categories (id, name)"
            f"{lacks}. A list without annotations, such as test2018.json, cannot be {part}="
        ) from None
    for what, listed_twice, kept in (("image", images, paths), ("category", categories, names)):
        for key, name in listed_twice:
            if kept[key] != name:
                raise ValueError(f"{file}: the id {check.shown(key)} is of {what} {name!r} and of {kept[key]!r}; "
                                 "expected one each")  # fmt: skip
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


def _own_names(found: dict[str, _Listed], files: dict[str, Path]) -> dict[int, str]:
    """The names that the lists have for their labels; ValueError where two lists mean different classes by a label."""
    names: dict[int, str] = {}
    for part, one in found.items():
        unlike = [f"{label} is {names[label]!r} in {files['train'].name} and {name!r} here"
                  for label, name in one.names.items() if names.setdefault(label, name) != name]  # fmt: skip
        if unlike:
            raise ValueError(f"{files[part]} names its classes another way: {listed(unlike, 3)}; give lists whose "
                             "labels mean the same classes")  # fmt: skip
    of_train = _folders(found["train"])
    for part, one in found.items():
        own = _folders(one)
        unlike = [f"{folder}/ has label {of_train[folder]} in {files['train'].name} and {label} here"
                  for folder, label in own.items() if of_train.get(folder) != label]  # fmt: skip
        if unlike and own.keys() == of_train.keys():
            raise ValueError(f"{files[part]} numbers its classes another way: {listed(unlike, 3)}; give lists whose "
                             "labels mean the same classes")  # fmt: skip
    return names


def _folders(one: _Listed) -> dict[str, int]:
    """The label of each folder that images lie in, where every class has one of its own; else nothing."""
    pairs = {(re.split(r"[/\\]", name)[-2], label) for name, label in one.images if re.search(r"[/\\]", name)}
    alone = len(pairs) == len(dict(pairs)) == len({label for _, label in one.images}) == len({c for _, c in pairs})
    return dict(sorted(pairs)) if alone else {}


def _tree(cache: Path, root: Path, found: dict[str, _Listed], named: dict[int, str]) -> Tree:
    """Every image that is listed, or what is wrong with it. cache: names where decoded images are kept."""
    tree = Tree(cache, list(named.values()))
    lacking: dict[str, list[str]] = {}
    for part, one in found.items():
        names = [name for name, _ in one.images]
        refuse_twice(f"the list {part}=", root, names)
        for name, label in one.images:
            entered(tree, part, named[label], root, name)
        if all(tree.bad.get(name) == MISSING for name in names):
            lacking[part] = names
    if lacking:
        what = "that are listed" if len(lacking) == len(found) else f"that {next(iter(lacking))}= lists"
        raise none_there(f"root={str(root)!r}", sum(lacking.values(), []), what, "pass root= the folder")
    return tree


def none_there(where: str, names: Sequence[str], what: str, todo: str) -> FileNotFoundError:
    """The error where a folder has none of the files that are named in a list."""
    rest = f"{todo} that the paths start from"
    if re.match(r"[A-Za-z]:[/\\]|\\\\", names[0]):
        rest = f"these are paths of a Windows machine: write them from a folder on, and {rest}"
    elif os.path.isabs(names[0]):
        rest = f"these paths are absolute, and no folder comes before them: write them from a folder on, and {rest}"
    return FileNotFoundError(f"{where} has none of the {len(names):,} images {what}, such as {names[0]}; {rest}")


def refuse_twice(source: object, root: Path, names: Sequence[str]) -> None:
    """Raise ValueError where a list has a file more than once, however its path is spelled: a.jpg is ./a.jpg."""
    first: dict[str, str] = {}
    twice: dict[str, None] = {}
    for name in names:
        path = os.path.normpath(os.path.join(root, name.replace("\\", "/")))
        if path in first:
            twice[first[path] if first[path] == name else f"{first[path]} = {name}"] = None
        first.setdefault(path, name)
    if twice:
        raise ValueError(f"{source} lists {check.many(len(twice), 'image')} more than once: {listed(list(twice), 5)}; "
                         "each counts once, so keep one line of it")  # fmt: skip


def entered(tree: Tree, part: str, class_name: str, root: Path, name: str) -> None:
    """Enter a file that is listed by name among the images of a tree, or what is wrong with it."""
    path = os.path.join(root, name)
    if "\\" in name and not os.path.exists(path):  # written on Windows
        path = os.path.join(root, name.replace("\\", "/"))
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
        own = _names_of(given, labels)
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


def _names_of(given: Any, labels: list[int]) -> dict[int, str]:
    expected = 'names of the classes: a list in the order of the labels, {label: name}, or a file with "name" a line'
    if isinstance(given, (str, os.PathLike)):
        given = _names_in(check.path("names", given), labels)
    try:
        if isinstance(given, Mapping):
            pairs = [(int(label), name) for label, name in given.items() if re.fullmatch("[0-9]{1,9}", str(label))]
            complete = len(pairs) == len(given)
        else:
            complete = isinstance(given, Sequence) and not isinstance(given, bytes)
            pairs = list(enumerate(given))
        # Of {"0": ["n01440764", "tench"]}, as ImageNet's classes are published, the last is the name.
        last = {label: one[-1] if isinstance(one, (list, tuple)) else one for label, one in pairs}
        found = {label: check.text("names", one).strip() for label, one in last.items()} if complete else {}
    except (TypeError, ValueError, IndexError):
        found = {}
    if not found:
        raise check.refuse("names", given, expected)
    if not isinstance(given, Mapping) and len(found) > labels[-1] + 1:
        raise ValueError(f"names: {len(found):,} names, and the largest label of the lists is {labels[-1]}; expected "
                         "one for each label from 0 on, or {label: name}, which may have more")  # fmt: skip
    return found


def _names_in(file: Path, labels: list[int]) -> Any:
    """The names that a file has: JSON, one a line, or "name label" or "label name" a line."""
    try:
        text = file.read_text(encoding="utf-8-sig")
        if file.suffix.lower() == ".json":
            return json.loads(text)
    except FileNotFoundError:
        raise FileNotFoundError(f"names={str(file)!r}: there is no such file") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"names={str(file)!r} cannot be read ({error})") from None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for form in (r"(?P<name>.*\S)\s*[\s:,;=]\s*(?P<label>[0-9]{1,9})",
                 r"(?P<label>[0-9]{1,9})\s*[\s:,;=).]\s*(?P<name>\S.*)"):  # fmt: skip
        numbered = [re.fullmatch(form, line) for line in lines]
        found = {int(one["label"]): one["name"] for one in numbered if one}
        if lines and len(found) == len(lines):
            if found.keys() >= set(labels):
                return found
            if sorted(found) in (list(range(len(lines))), list(range(1, len(lines) + 1))):
                raise ValueError(f"names={str(file)!r} numbers its lines {min(found)} to {max(found)}, and the labels "
                                 f"of the lists are {labels[0]} to {labels[-1]}; give names of these labels, or "
                                 "without numbers")  # fmt: skip
    return lines


def _plain_names(names: Any) -> Any:
    """As JSON can keep it."""
    if names is None or isinstance(names, (str, os.PathLike)):
        return None if names is None else str(names)
    if isinstance(names, Mapping):
        return {str(label): str(name) for label, name in names.items()}
    return [str(name) for name in names]
