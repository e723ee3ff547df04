"""Finds function bodies in C and C++ text by following braces: exact enough to police their length, and quick.

Comments, strings and preprocessor lines are blanked first. A brace at namespace or class scope whose text since the last
`;`, `{` or `}` holds a parameter list opens a function; lambdas and local classes count as part of the function around them.
"""

import re
from collections import namedtuple

Function = namedtuple("Function", "name first lines")

BLANK = re.compile(
    r'//[^\n]*|/\*.*?\*/|R"(?P<tag>[^(\s]{0,16})\(.*?\)(?P=tag)"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'|^[ \t]*#(?:\\\n|[^\n])*',
    re.S | re.M)


def blank(text):
    """The text with everything that is not code replaced by spaces; line numbers stay."""
    # A digit separator (1'000) would open a character literal.
    text = re.sub(r"(?<=[0-9a-fA-F])'(?=[0-9a-fA-F]{3})", " ", text)
    return BLANK.sub(lambda m: re.sub(r"[^\n]", " ", m.group(0)), text)


def opensFunction(head):
    if not re.search(r"\)", head) or re.match(r"\s*(namespace|extern|enum|class|struct|union)\b(?![^{]*\)\s*$)", head):
        return False
    # `type name = {` and `name = [](...) {` at file scope are initialisers; a long lambda table is data.
    return not re.search(r"[^=!<>]=\s*$", head)


def nameOf(head):
    head = re.sub(r"\b(requires|noexcept|decltype|alignas|__attribute__)\s*\([^()]*\)", " ", head)
    match = re.search(r"(operator\s*(?:\(\)|[^\s\w(]+)|~?\w+)\s*\(", head)
    return match.group(1) if match else "?"


def functions(text):
    code = blank(text)
    found = []
    scopes = []  # True for a function or anything inside one
    start = 0  # where the text before the next brace begins
    for match in re.finditer(r"[{};]", code):
        position, symbol = match.start(), match.group(0)
        if symbol == "{":
            head = code[start:position]
            inside = bool(scopes) and scopes[-1] is not False
            if not inside and opensFunction(head):
                first = code.count("\n", 0, start + len(head) - len(head.lstrip())) + 1
                scopes.append((nameOf(head), first))
            else:
                scopes.append(True if inside else False)
            start = position + 1
        elif symbol == "}":
            if scopes:
                scope = scopes.pop()
                if isinstance(scope, tuple):
                    last = code.count("\n", 0, position) + 1
                    found.append(Function(scope[0], scope[1], last - scope[1] + 1))
            start = position + 1
        elif not scopes or scopes[-1] is False:
            start = position + 1
    return found
