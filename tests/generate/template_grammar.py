"""Random chat templates: mostly well-typed, sometimes not, over the variables of template_goldens.py.

Left out is what Python prints by address, and what the engine states as its limits: integers beyond
64 bits, HTML escaping of marked strings, and the order in which lazy filters fail.
"""

import random

TEXTS = ["''", "'a'", "' b c '", "'x,y,,z'", "'\\n'", "\"it's\"", "'héß'", "'a\\nb\\n\\nc'", "'😀k'", "'12'",
         "' 3.5 '", "'<|e|>'", "'aXbX'"]


class Grammar:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.depth = 0
        self.names = []  # loop variables and the like that are set here

    def pick(self, *choices):
        return self.random.choice(choices)

    def chance(self, probability):
        return self.random.random() < probability

    # Expressions by the type that they mostly have.

    def expression(self, kind=None):
        kind = kind or self.pick("text", "text", "number", "list", "truth", "dict", "any")
        if self.chance(0.03):
            kind = self.pick("text", "number", "list", "truth", "dict", "any")
        self.depth += 1
        make = getattr(self, "leaf_" + kind if self.depth > 4 or self.chance(0.25) else kind)
        result = make()
        if kind == "dict" and "{" in result:  # Jinja folds slices of constants as nothing else
            result = f"dict({result})"
        if "|" in result and self.chance(0.97):  # a filter takes no postfix
            result = f"({result})"
        self.depth -= 1
        return result

    def leaf_text(self):
        return self.pick("s", "messages[0].content", "messages[1]['content']", "messages[-1].role",
                         *TEXTS)

    def leaf_number(self):
        return self.pick("0", "1", "2", "3", "-1", "7", "n", "f", "1.5", "true", "l[0]", "d.b")

    def leaf_list(self):
        return self.pick("l", "e", "[]", "[1, 'a', none]", "['b', 'A', 'c']", "(1, 2)", "messages",
                         "range(3)", "range(5, 0, -2)", "d")

    def leaf_dict(self):
        return self.pick("d", "{}", "{'k': 1, 'j': 'x'}", "messages[0]", "messages[2].tool_calls[0].function")

    def leaf_truth(self):
        return self.pick("true", "false", "none", "t", "loop is defined", "missing", "s", "e", "n")

    def leaf_any(self):
        if self.names and self.chance(0.7):
            return self.pick(*self.names)
        return self.pick("none", "missing", "d.c", "messages[9]", "s", "n", "l")

    def small(self):
        return self.pick("0", "1", "2", "-1", "-2", "5", "n", "")

    def text(self):
        t, e = (lambda: self.expression("text")), self.expression
        chars = self.pick("", "'a'", "' x'", "'\\n'", "none")
        return self.pick(
            lambda: f"({t()} ~ {e()})",
            lambda: f"({t()} + {t()})",
            lambda: f"({t()} * {self.pick('0', '2', '-1', 'n')})",
            lambda: f"{t()}|{self.pick('trim', 'upper', 'lower', 'title', 'capitalize', 'string', 'reverse')}",
            lambda: f"{t()}.{self.pick('strip', 'lstrip', 'rstrip')}({chars})",
            lambda: f"{t()}.{self.pick('upper', 'lower', 'title', 'capitalize')}()",
            lambda: f"{t()}.replace({t()}, {t()}{self.pick('', ', 1', ', 0', ', -1')})",
            lambda: f"{t()}|replace({t()}, {t()}{self.pick('', ', 2')})",
            lambda: f"{t()}[{self.small()}:{self.small()}{self.pick('', '', ':', ':2', ':-1', ':-2')}]",
            lambda: f"{t()}[{self.pick('0', '1', '-1', '9')}]",
            lambda: f"{e('list')}|join({self.pick('', t())})",
            lambda: f"{t()}.join({e('list')}|map('string'))",
            lambda: f"{e()}|tojson({self.pick('', '', 'indent=2', 'sort_keys=true', 'ensure_ascii=true')})",
            lambda: f"{e()}|string",
            lambda: f"{t()}|indent({self.pick('', '2', '1, true', '2, false, true', repr('>'))})",
            lambda: f"({t()} if {e('truth')} else {t()})",
            lambda: f"{e()}|default({t()}{self.pick('', ', true')})",
            lambda: f"{t()}.{self.pick('removeprefix', 'removesuffix')}({t()})",
            lambda: f"{e('list')}|{self.pick('first', 'last')}",
            lambda: f"('%s-%s' % ({e()}, {e()}))",
            lambda: f"'{{}}:{{}}'.format({e()}, {e()})",
        )()

    def number(self):
        n = lambda: self.expression("number")
        return self.pick(
            lambda: f"({n()} {self.pick('+', '-', '*', '/', '//', '%')} {n()})",
            lambda: f"(-{n()})",
            lambda: f"({n()} ** {self.pick('2', '0', '1')})",
            lambda: f"{self.expression(self.pick('list', 'text', 'dict'))}|length",
            lambda: f"{self.expression(self.pick('text', 'number'))}|int",
            lambda: f"{self.expression(self.pick('text', 'number'))}|int({n()})",
            lambda: f"{self.expression(self.pick('text', 'number'))}|float",
            lambda: f"{n()}|{self.pick('abs', 'round', 'round(1)', 'round(2)')}",
            lambda: f"{self.expression('text')}.{self.pick('find', 'rfind', 'count', 'index')}({self.expression('text')})",
            lambda: f"{self.expression('list')}|{self.pick('sum', 'min', 'max')}",
            lambda: f"({n()} if {self.expression('truth')} else {n()})",
        )()

    def list(self):
        e, items = self.expression, (lambda: self.expression("list"))
        test = self.pick("'string'", "'number'", "'defined'", "'none'", "'odd'", "'gt', 1", "'in', [1, 'a']")
        return self.pick(
            lambda: f"[{', '.join(e() for _ in range(self.random.randrange(4)))}]",
            lambda: f"({e()}, {e()})",
            lambda: f"({items()} + {items()})",
            lambda: f"{items()}[{self.small()}:{self.small()}{self.pick('', '', ':-1', ':2')}]",
            lambda: f"{e('text')}.{self.pick('split', 'rsplit')}({self.pick('', t := e('text'), t + ', 1', 'none, 1')})",
            lambda: f"{e('text')}.{self.pick('splitlines()', 'splitlines(true)', 'partition(' + e('text') + ')')}",
            lambda: f"{items()}|{self.pick('list', 'sort', 'sort(reverse=true)', 'unique|list', 'reverse|list', 'batch(2)|list')}",
            lambda: f"{items()}|{self.pick('select', 'reject')}({test})|list",
            lambda: f"{items()}|{self.pick('selectattr', 'rejectattr')}('role', {self.pick(repr('equalto'), repr('ne'))}, {e('text')})|list",
            lambda: f"messages|map(attribute={self.pick(repr('role'), repr('content'), repr('nope'))})|list",
            lambda: f"{items()}|map({self.pick(repr('string'), repr('upper'), repr('trim'))})|list",
            lambda: f"{e('dict')}|{self.pick('items|list', 'dictsort', 'list')}",
            lambda: f"{e('dict')}.{self.pick('keys', 'values', 'items')}()|list",
        )()

    def dict(self):
        e = self.expression
        return self.pick(
            lambda: "{" + ", ".join(f"{e(self.pick('text', 'number'))}: {e()}" for _ in range(self.random.randrange(3))) + "}",
            lambda: f"dict(a={e()}, b={e()})",
            lambda: f"({e('dict')} if {e('truth')} else {e('dict')})",
        )()

    def truth(self):
        e = self.expression
        return self.pick(
            lambda: f"({e('truth')} {self.pick('and', 'or')} {e('truth')})",
            lambda: f"(not {e('truth')})",
            lambda: f"({e()} {self.pick('==', '!=')} {e()})",
            lambda: f"({(k := self.pick('number', 'text')) and e(k)} {self.pick('<', '<=', '>', '>=')} {e(k)})",
            lambda: f"({e('text')} {self.pick('in', 'not in')} {e(self.pick('text', 'list', 'dict'))})",
            lambda: f"({e()} is {self.pick('', 'not ')}{self.pick('defined', 'none', 'string', 'mapping', 'iterable', 'sequence', 'number', 'integer', 'float', 'boolean', 'true', 'false', 'undefined')})",
            lambda: f"{e('text')}.{self.pick('startswith', 'endswith')}({e('text')})",
            lambda: f"({e('number')} is {self.pick('odd', 'even', 'divisibleby 2', 'gt 1', 'eq 5')})",
            lambda: f"({e('text')} is {self.pick('upper', 'lower')})",
        )()

    def any(self):
        e = self.expression
        return self.pick(
            lambda: f"{e('list')}[{self.pick('0', '1', '-1', '7', repr('x'))}]",
            lambda: f"{e('dict')}.{self.pick('b', 'k', 'role', 'nope')}",
            lambda: f"{e('dict')}[{e('text')}]",
            lambda: f"{e('dict')}.get({e('text')}{self.pick('', ', 4')})",
            lambda: f"({e('truth')} and {e()})",
            lambda: f"({e()} if {e('truth')})",
        )()

    # Statements.

    def space(self):
        return self.pick("", "", " ", "\n", "  \n ", "\n\n", " x ", "y\n", "\t")

    def open(self):
        return "{%" + self.pick("", "", "-", "-", "+") + " "

    def close(self):
        return " " + self.pick("", "", "-", "-", "+") + "%}"

    def tag(self, text):
        return self.space() + self.open() + text + self.close() + self.space()

    def body(self, names=()):
        self.depth += 1
        self.names.extend(names)
        result = "".join(self.statement() for _ in range(self.random.randrange(1, 3)))
        del self.names[len(self.names) - len(names):]
        self.depth -= 1
        return result

    def statement(self):
        e = self.expression
        if self.depth > 3 or self.chance(0.45):
            sign, end = self.pick("", "", "-"), self.pick("", "", "-")
            return self.space() + "{{" + sign + " " + e() + " " + end + "}}" + self.space()
        return self.pick(
            lambda: self.tag(f"if {e('truth')}") + self.body()
            + (self.tag(f"elif {e('truth')}") + self.body() if self.chance(0.3) else "")
            + (self.tag("else") + self.body() if self.chance(0.4) else "") + self.tag("endif"),
            lambda: self.tag(f"for x in {self.pick(e('list'), e('list'), 'range(5, 0, -2)')}{self.pick('', '', ' if x')}")
            + self.body(["x", "loop.index", "loop.last", "loop.previtem", "loop.revindex0"])
            + (self.tag(f"if x{self.pick('', ' == 1')}") + self.tag(self.pick("break", "continue"))
               + self.tag("endif") + self.body(["x"]) if self.chance(0.3) else "")
            + (self.tag("else") + self.body() if self.chance(0.3) else "") + self.tag("endfor"),
            lambda: self.tag(f"for k, v in {e('dict')}{self.pick('.items()', '|items', '|dictsort')}")
            + self.body(["k", "v", "loop.first"]) + self.tag("endfor"),
            lambda: self.tag(f"set v = {e()}") + self.body(["v"]),
            lambda: self.tag(f"set v{self.pick('', ' | trim', ' | upper')}") + self.body()
            + self.tag("endset") + self.body(["v"]),
            lambda: self.tag(f"set ns = namespace(a={e()})") + self.tag("for x in l")
            + self.tag(f"set ns.a = {self.pick('ns.a ~ x', '[ns.a, x]', e())}") + self.tag("endfor")
            + "{{ ns.a }}",
            lambda: self.tag(f"macro m(p, q={e()})") + self.body(["p", "q"]) + self.tag("endmacro")
            + "{{ m(" + e() + self.pick("", ", " + e(), ", q=" + e()) + ") }}",
            lambda: self.tag(f"with w = {e()}") + self.body(["w"]) + self.tag("endwith"),
            lambda: self.tag(f"filter {self.pick('upper', 'trim', 'indent(2)')}") + self.body()
            + self.tag("endfilter"),
            lambda: self.tag("generation") + self.body() + self.tag("endgeneration"),
            lambda: self.space() + "{#" + self.pick("", "-", "+") + " c\n " + self.pick("", "-", "+") + "#}" + self.space(),
            lambda: "{%" + self.pick("", "-") + " raw %}" + self.space() + "{{ x }}" + self.tag("endraw"),
        )()

    def template(self):
        return "".join(self.statement() for _ in range(self.random.randrange(1, 4)))
