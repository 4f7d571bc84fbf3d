"""Which names of several landmark files mean the same landmark, though people wrote them differently.

One rater writes `AC`, another `ac` or `AC` with a blank behind it. In AFIDs files the label is a number and the
description the name. Names are taken as the same only where one name fits one other, and a note says so.
"""

from __future__ import annotations

import itertools
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from deepfeatures.data.landmark_checks import names_text
from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.data.notes import Note, NoteKind

PAIRS_SHOWN = 3


@dataclass(frozen=True)
class NameMatch:
    """What the names of one set mean in another, the known one.

    Args:
        spelled: Names that differ from a known one only in case, blanks or `_`, and that one.
        described: Names whose description is a known name, or which are the description of a known one, and that one.
        unknown: Names that mean no known landmark.
        lacking: Known names that no name of the set means.
    """

    spelled: Mapping[str, str] = field(default_factory=dict)
    described: Mapping[str, str] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()

    def renamed(self, landmarks: LandmarkSet) -> LandmarkSet:
        """The set with the known names."""
        known = {**self.spelled, **self.described}
        return replace(
            landmarks, landmarks=tuple(replace(one, name=known.get(one.name, one.name)) for one in landmarks)
        )

    def notes(self, known: str) -> tuple[Note, ...]:
        """What people should know of it; `known` is what messages call the other set."""
        texts = []
        if self.spelled:
            texts.append(
                f"names that differ from those of {known} only in case or blanks are taken as the same:"
                f" {_pairs_text(self.spelled)}"
            )
        if self.described:
            texts.append(
                f"landmarks whose description is the name in {known}, or the other way around, are taken as the same:"
                f" {_pairs_text(self.described)}"
            )
        if self.unknown and self.lacking:
            texts.append(
                f"landmarks that are not in {known} are {_listed(self.unknown)}, those only in {known} are"
                f" {_listed(self.lacking)}: give the same landmarks the same names"
            )
        elif self.unknown:
            texts.append(f"landmarks that are not in {known}: {_listed(self.unknown)}")
        elif self.lacking:
            texts.append(f"landmarks that are only in {known}: {_listed(self.lacking)}")
        return tuple(Note(NoteKind.NAMES, text) for text in texts)


def match_names(landmarks: LandmarkSet, known: LandmarkSet) -> NameMatch:
    """What the names of `landmarks`, each of which occurs once, mean among those of `known`.

    Equal names are the same landmark. Of the others first spelling decides, then description. Where two names fit, none
    is taken.
    """
    own, theirs = _descriptions(landmarks), _descriptions(known)
    spelled = _one_to_one(_equal(zip(own, own, strict=True), zip(theirs, theirs, strict=True)))
    spelled = {name: other for name, other in spelled.items() if name != other}
    left = {name: text for name, text in own.items() if name not in theirs and name not in spelled}
    wanted = {name: text for name, text in theirs.items() if name not in own and name not in spelled.values()}
    as_name = _equal(left.items(), zip(wanted, wanted, strict=True))
    as_description = _equal(zip(left, left, strict=True), wanted.items())
    described = _one_to_one(as_name + as_description)
    return NameMatch(
        spelled,
        described,
        tuple(name for name in left if name not in described),
        tuple(name for name in wanted if name not in described.values()),
    )


def unify_names(sets: Sequence[LandmarkSet], owners: Sequence[str]) -> tuple[list[LandmarkSet], tuple[Note, ...]]:
    """Several sets with the same names for the same landmarks, and what people should know of it, by owner.

    The names of the first owner's sets count, and among these the most frequent.

    Args:
        sets: Each with different names.
        owners: What messages call whose each set is, such as a rater; one may have many.
    """
    counts = Counter(one.name for landmarks in sets for one in landmarks)
    order = sorted(
        range(len(sets)),
        key=lambda place: (owners[place] != owners[0], -sum(counts[one.name] for one in sets[place])),
    )
    vocabulary, unified, matches = LandmarkSet(()), list(sets), defaultdict(list)
    for place in order:
        match = match_names(sets[place], vocabulary)
        unified[place] = match.renamed(sets[place])
        new = tuple(one for one in sets[place] if one.name in match.unknown)
        vocabulary = replace(vocabulary, landmarks=vocabulary.landmarks + new)
        matches[owners[place]].append(match)
    notes = [
        note.of(owner)
        for owner in dict.fromkeys(owners)
        for note in (
            *_renaming_notes(matches[owner], _known_of(owner, owners)),
            *_difference_notes(unified, owners, owner),
        )
    ]
    return unified, tuple(notes)


def _renaming_notes(matches: Sequence[NameMatch], known: str) -> Iterable[Note]:
    """One note for all sets of an owner whose names were matched in one way."""
    spelled = {name: other for match in matches for name, other in match.spelled.items()}
    described = {name: other for match in matches for name, other in match.described.items()}
    ways = [
        (NameMatch(spelled=spelled), sum(bool(match.spelled) for match in matches)),
        (NameMatch(described=described), sum(bool(match.described) for match in matches)),
    ]
    for all_matches, files in ways:
        for note in all_matches.notes(known):
            yield replace(note, text=f"in {files} of {len(matches)} files {note.text}") if len(matches) > 1 else note


def _difference_notes(sets: Sequence[LandmarkSet], owners: Sequence[str], owner: str) -> Iterable[Note]:
    """Names of an owner's sets that none of the first owner's other sets has, and what is lacking beside them."""
    names = [frozenset(one.name for one in landmarks) for landmarks in sets]
    own = [found for found, whose in zip(names, owners, strict=True) if whose == owner]
    first = [found for found, whose in zip(names, owners, strict=True) if whose == owners[0]]
    if owner == owners[0] and len(own) == 1:
        return ()
    counts = Counter(itertools.chain.from_iterable(first))
    usual = {name for name, count in counts.items() if 2 * count > len(first)}
    seldom = int(owner == owners[0])  # a name is in its own set, too
    unknown, lacking = set(), set()
    for found in own:
        if odd := {name for name in found if counts[name] <= seldom}:
            unknown |= odd
            lacking |= usual - found
    return NameMatch(unknown=tuple(sorted(unknown)), lacking=tuple(sorted(lacking))).notes(_known_of(owner, owners))


def _known_of(owner: str, owners: Sequence[str]) -> str:
    """What messages call the sets with whose names an owner's are compared."""
    return owners[0] if owner != owners[0] else "the other files"


def _descriptions(landmarks: LandmarkSet) -> dict[str, str]:
    return {landmark.name: landmark.description for landmark in landmarks}


def _folded(text: str) -> str:
    """Without case, blanks and `_`, which some formats write for blanks."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().replace("_", " ").split())


def _equal(texts: Iterable[tuple[str, str]], others: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Of names, each with a text that is compared: pairs whose folded texts are the same and not empty."""
    by_text = defaultdict(list)
    for other, text in others:
        by_text[_folded(text)].append(other)
    return [(name, other) for name, text in texts if _folded(text) for other in by_text[_folded(text)]]


def _one_to_one(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The pairs whose names occur in no other pair."""
    pairs = dict.fromkeys(pairs)
    of, to = Counter(name for name, _ in pairs), Counter(other for _, other in pairs)
    return {name: other for name, other in pairs if of[name] == to[other] == 1}


def _listed(names: Sequence[str]) -> str:
    return names_text([f"'{name}'" for name in names]).replace(";", ",")


def _pairs_text(pairs: Mapping[str, str]) -> str:
    return names_text([f"'{name}' as '{other}'" for name, other in pairs.items()], PAIRS_SHOWN).replace(";", ",")
