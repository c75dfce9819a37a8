"""Which kind of work a mnemonic of AArch64 is, as far as pipelines tell them apart (the groups of Arm's optimization guides)."""

from __future__ import annotations

import re
from enum import StrEnum


class Kind(StrEnum):
    """What an instruction occupies a pipeline as. The names are the keys of `[classes]` in a core's TOML file."""

    ALU = "alu"
    ALU_LSL = "alu_lsl"  # adds a register that is shifted left by 1 to 4
    ALU_SHIFT = "alu_shift"
    MULTIPLY = "multiply"
    MULTIPLY_64 = "multiply_64"
    DIVIDE = "divide"
    BRANCH = "branch"
    NOP = "nop"
    SYSTEM = "system"
    PREFETCH = "prefetch"
    LOAD = "load"
    LOAD_VECTOR = "load_vector"
    LOAD_LANE = "load_lane"
    LOAD_INTERLEAVED = "load_interleaved"
    STORE = "store"
    STORE_VECTOR = "store_vector"
    STORE_INTERLEAVED = "store_interleaved"
    FMLA = "fmla"
    FMUL = "fmul"
    FADD = "fadd"
    FCOMPARE = "fcompare"  # maxima and minima as well
    FROUND = "fround"
    FCONVERT = "fconvert"
    FCONVERT_HALF = "fconvert_half"
    FDIVIDE = "fdivide"
    FESTIMATE = "festimate"
    DOT = "dot"
    MMLA = "mmla"
    VMULTIPLY = "vmultiply"
    VMULTIPLY_LONG = "vmultiply_long"
    ACCUMULATE = "accumulate"
    SHIFT = "shift"
    SHIFT_REGISTER = "shift_register"
    SHIFT_ROUNDING = "shift_rounding"  # by a number, and saturating as well
    SHIFT_NARROW = "shift_narrow"
    VECTOR = "vector"
    VECTOR_LONG = "vector_long"
    ZIP = "zip"
    REARRANGE = "rearrange"
    TABLE = "table"
    REDUCE = "reduce"
    DUPLICATE = "duplicate"  # a general register into a whole vector register
    INSERT = "insert"  # and into a lane
    EXTRACT = "extract"
    INT_TO_FLOAT = "int_to_float"
    FLOAT_TO_INT = "float_to_int"


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


MEMORY = frozenset(kind for kind in Kind if kind.startswith(("load", "store")))

BRANCHES = _names("b bl br blr ret cbz cbnz tbz tbnz braa blraa retaa")
HINTS = _names("nop hint yield bti paciasp autiasp pacibsp autibsp wfe sev clrex")
SYSTEM = _names("mrs msr svc dmb dsb isb sys dc ic brk hlt")
ATOMIC_PREFIXES = tuple(
    sorted(_names("ldx stx ldax stlx ldar stlr ldapr cas swp ldadd ldclr ldset ldeor stadd stclr stset"))
)

COMPARES = _names("cmp cmn tst ccmp ccmn fcmp fcmpe fccmp fccmpe")
SETS_FLAGS = _names("adds subs ands bics negs adcs sbcs")
READS_FLAGS = _names(
    "csel cset csetm csinc csinv csneg cinc cinv cneg ccmp ccmn fccmp fccmpe fcsel adc adcs sbc sbcs ngc"
)
INTEGER_ACCUMULATES = _names("madd msub smaddl umaddl smsubl umsubl")
READS_DESTINATION = _names("bsl bit bif sli sri tbx bfi bfxil")
ACCUMULATES = _names(
    "fmla fmls fmlal fmlsl mla mls smlal umlal smlsl umlsl sqdmlal sqdmlsl sqrdmlah sqrdmlsh sdot udot usdot sudot bfdot "
    "smmla ummla usmmla bfmmla sadalp uadalp saba uaba sabal uabal ssra usra srsra ursra"
)

# the suffix 2 (of long and narrow forms) is off; the first that matches
_VECTOR_KINDS = [
    (re.compile(pattern), kind)
    for pattern, kind in (
        (r"(s|u|us|su|bf)dot", Kind.DOT),
        (r"(s|u|us|bf)mmla", Kind.MMLA),
        (r"fn?m(add|sub)|fml[as]l?|frecps|frsqrts", Kind.FMLA),
        (r"fn?mulx?", Kind.FMUL),
        (r"f(max|min)(nm)?v|[su]?(add|max|min)l?v", Kind.REDUCE),
        (r"f(add|sub|abd|addp)", Kind.FADD),
        (r"f(max|min)(nm)?p?|f(cmp|cmpe|csel|ccmp|ccmpe|cm\w\w|ac\w\w)", Kind.FCOMPARE),
        (r"frint\w+", Kind.FROUND),
        (r"fcvt(l|n|xn)?", Kind.FCONVERT_HALF),
        (r"[su]cvtf|fcvt\w+", Kind.FCONVERT),
        (r"fdiv|fsqrt", Kind.FDIVIDE),
        (r"[fu](recp|rsqrt)[ex]", Kind.FESTIMATE),
        (r"mul|ml[as]|pmul|sqr?dmulh|sqrdml[as]h", Kind.VMULTIPLY),
        (r"(s|u|sqd|p)m(ul|la|ls)l", Kind.VMULTIPLY_LONG),
        (r"[su]adalp|[su]abal?|[su]rsra", Kind.ACCUMULATE),
        (r"[us]?q?r?shrun?|[us]?q?r?shrn|[su]qxtu?n", Kind.SHIFT_NARROW),
        (r"[su]qshlu?|[su]rshr|[su]sra", Kind.SHIFT_ROUNDING),
        (r"shl|[su]shl|[su]shr|[us]?shll|[su]xtl|s[lr]i", Kind.SHIFT),
        (r"[su](add|sub|abd)[lw]p?|r?(add|sub)hn", Kind.VECTOR_LONG),
        (r"(zip|uzp)1?", Kind.ZIP),
        (r"trn1?|ext|rev\d*|dup|ins", Kind.REARRANGE),
        (r"tb[lx]", Kind.TABLE),
    )
]
_SHIFTS_BY_REGISTER = re.compile(r"[su]q?r?shl")
_NARROWS = re.compile(r"xtn|r?(add|sub)hn|fcvtx?n")
_LOW_SHIFT = re.compile(r"lsl #(0x)?[0-4]$")


def integer_kind(mnemonic: str, operands: str) -> Kind:
    """The kind of an instruction on general registers alone."""
    if mnemonic in ("sdiv", "udiv"):
        return Kind.DIVIDE
    if mnemonic in ("mul", "madd", "msub", "mneg"):
        return Kind.MULTIPLY_64 if operands.startswith("x") else Kind.MULTIPLY
    if re.fullmatch(r"[su]mulh", mnemonic):
        return Kind.MULTIPLY_64
    if re.fullmatch(r"[su](mull|maddl|msubl|mnegl)", mnemonic):
        return Kind.MULTIPLY
    if mnemonic in ("add", "sub", "adds", "subs", "cmp", "cmn", "neg", "negs") and re.search(
        r"lsl|lsr|asr|[su]xt", operands
    ):
        return Kind.ALU_LSL if _LOW_SHIFT.search(operands) else Kind.ALU_SHIFT
    return Kind.ALU


def vector_kind(mnemonic: str, destination: str, operands: str) -> Kind:
    """The kind of an instruction that has a vector register among its operands."""
    general = re.search(r"\b[xw](\d+|zr)\b", operands)
    if general:
        return _between_files(mnemonic, destination, general.start() < len(destination))
    if mnemonic == "mov" and "[" in operands:
        return Kind.REARRANGE
    if _SHIFTS_BY_REGISTER.fullmatch(mnemonic) and "#" not in operands:
        return Kind.SHIFT_REGISTER
    name = mnemonic.removesuffix("2")
    return next((kind for pattern, kind in _VECTOR_KINDS if pattern.fullmatch(name)), Kind.VECTOR)


def is_narrowing(mnemonic: str, kind: Kind) -> bool:
    """Whether it writes half a register, the other half of which stays as it was."""
    return kind is Kind.SHIFT_NARROW or bool(_NARROWS.fullmatch(mnemonic.removesuffix("2")))


def _between_files(mnemonic: str, destination: str, to_general: bool) -> Kind:
    if re.match(r"[su]cvtf", mnemonic):
        return Kind.INT_TO_FLOAT
    if mnemonic.startswith("fcvt"):
        return Kind.FLOAT_TO_INT
    if to_general:
        return Kind.EXTRACT
    return Kind.INSERT if "[" in destination else Kind.DUPLICATE
