"""Whether two optimised programs are the same: XLA's text, read as a graph."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_COMPUTATION = re.compile(r"^(ENTRY )?(%[\w.\-]+) .*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?(%[\w.\-]+) = (.*)$")
_METADATA = re.compile(r",? metadata=\{(?:[^{}\"]|\"[^\"]*\")*\}")
_COMMENT = re.compile(r"/\*.*?\*/")
_ARRAY_TYPE = re.compile(r"\w+\[[^\]]*\](?:\{[^}]*\})?")
_NAME = re.compile(r"%[\w.\-]+")


@dataclass(frozen=True)
class Instruction:
    """`%name = type opcode(operands), attributes`."""

    name: str
    type: str
    opcode: str
    operands: str
    attributes: str


@dataclass(frozen=True)
class Module:
    """A module's computations, by name, and which of them is run."""

    computations: Mapping[str, tuple[Instruction, ...]]
    entry: str

    def __iter__(self) -> Iterator[Instruction]:
        for instructions in self.computations.values():
            yield from instructions


def parse(text: str) -> Module:
    """Reads `compiled.as_text()`, without what stands there of names and places in the source."""
    computations: dict[str, list[Instruction]] = {}
    entry, current = "", []
    for line in text.splitlines():
        if header := _COMPUTATION.match(line):
            current = computations[header[2]] = []
            entry = header[2] if header[1] else entry
        elif match := _INSTRUCTION.match(line):
            rest = _COMMENT.sub("", _METADATA.sub("", match[2]))
            current.append(_instruction(match[1], rest))
    return Module({name: tuple(own) for name, own in computations.items()}, entry)


def _instruction(name: str, text: str) -> Instruction:
    # A tuple's type is in parentheses, and so are the operands.
    type_end = _closing(text, 0) + 1 if text.startswith("(") else text.index(" ")
    opcode_end = text.index("(", type_end)
    operands_end = _closing(text, opcode_end)
    return Instruction(
        name,
        text[:type_end],
        text[type_end:opcode_end].strip(),
        text[opcode_end + 1 : operands_end],
        text[operands_end + 1 :],
    )


def _closing(text: str, start: int) -> int:
    """Where the parenthesis that opens at `start` closes."""
    depth, quoted = 0, False
    for i in range(start, len(text)):
        if text[i] == '"':
            quoted = not quoted
        elif not quoted and text[i] in "()":
            depth += 1 if text[i] == "(" else -1
            if depth == 0:
                return i
    return len(text)


def fingerprint(module: Module) -> str:
    """A digest of what the program computes, and how.

    It is the same for two programs that differ in names, in the order of independent instructions,
    or in the order in which tuples (the state of a loop) hold their elements.
    """
    return _Digests(module).of_computation(module.entry)


class _Digests:
    def __init__(self, module: Module):
        self._module = module
        self._known: dict[str, str] = {}

    def of_computation(self, name: str) -> str:
        if name not in self._known:
            is_entry = name == self._module.entry
            found: dict[str, str] = {}
            for instruction in self._module.computations[name]:  # operands come first
                found[instruction.name] = self._of_instruction(instruction, found, is_entry)
            self._known[name] = _digest(*sorted(found.values()))
        return self._known[name]

    def _of_instruction(self, own: Instruction, found: dict[str, str], is_entry: bool) -> str:
        operands = [found[name] for name in _NAME.findall(own.operands) if name in found]
        # A constant's value or a parameter's number; the number of a loop's one tuple is 0.
        literal = "" if operands else own.operands
        attributes = _NAME.sub(self._called, own.attributes)
        if own.opcode == "tuple":
            operands.sort()
        if own.opcode == "get-tuple-element":
            attributes = ""
        types = sorted(_ARRAY_TYPE.findall(own.type))
        where = "entry" if is_entry else ""
        return _digest(where, own.opcode, *types, literal, attributes, *operands)

    def _called(self, name: re.Match[str]) -> str:
        return self.of_computation(name[0]) if name[0] in self._module.computations else ""


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
