"""The real texts that the forward references continue: prose, code, data, dialogue, many languages.

Long ones come from files that Debian ships: the licences of base-files and the King James Bible of
bible-kjv-text, both free to copy. Everything else is short and lies here.
"""

import pathlib
import re
import subprocess

LICENSES = pathlib.Path("/usr/share/common-licenses")


def license_text(name, first, count):
    """Characters [first, first + count) of a licence, cut back to whole words."""
    text = (LICENSES / name).read_text(encoding="utf-8")
    return text[first : first + count].rsplit(None, 1)[0].lstrip()


def bible(passage):
    """A passage as running text, without chapter headings ("Genesis 1") and verse numbers."""
    out = subprocess.run(["bible", "-l99999", passage], check=True, capture_output=True, text=True).stdout
    lines = [re.sub(r"^\s*(?:\d+:)?\d+\s+", "", line).strip() for line in out.splitlines()]
    return " ".join(line for line in lines if line and not re.fullmatch(r"[1-3]?\s?[A-Z][A-Za-z ]+ \d+", line))


def chat(*turns):
    """(role, text) turns in the form of ChatML, open for the assistant's answer."""
    body = "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in turns)
    return body + "<|im_start|>assistant\n"


SYSTEM = ("system", "You are a helpful AI assistant named SmolLM, trained by Hugging Face")

ENGLISH_STORY = """Once upon a time, in a small village at the edge of a great forest, there lived a clockmaker \
named Elias. Every morning he opened the shutters of his shop and wound the forty clocks on its walls, one after \
another, listening for the one that was late."""

ENGLISH_SCIENCE = """Photosynthesis is the process by which green plants, algae and some bacteria convert light \
energy into chemical energy. In the first stage, the light-dependent reactions, chlorophyll absorbs photons and"""

ENGLISH_HISTORY = """The printing press was introduced to Europe in the middle of the fifteenth century. Before \
that, books were copied by hand, and a single Bible could take a scribe more than a year. Three consequences of \
this invention were especially important. First,"""

ENGLISH_RECIPE = """Simple Vegetable Soup

Ingredients:
- 2 tablespoons olive oil
- 1 onion, chopped
- 2 carrots, sliced
- 2 stalks of celery, sliced
- 1 can of diced tomatoes
- 4 cups of vegetable broth

Instructions:
1."""

ENGLISH_LETTER = """Dear Ms. Harrington,

Thank you for your letter of 14 March concerning the delayed delivery of your order (no. 48213). I am sorry for \
the inconvenience that this has caused. After speaking with our warehouse I can confirm that"""

ENGLISH_NEWS = """LONDON, 3 May - Commuters faced long delays on Tuesday after heavy rain flooded two of the city's \
main railway stations, forcing operators to cancel dozens of trains. A spokesman for the network said that"""

PYTHON = '''def binary_search(items, target):
    """Return the index of target in the sorted list items, or -1 if it is absent."""
    low, high = 0, len(items) - 1
    while low <= high:
'''

PYTHON_CLASS = '''import json
from dataclasses import dataclass, field


@dataclass
class Account:
    owner: str
    balance: float = 0.0
    history: list = field(default_factory=list)

    def deposit(self, amount: float) -> None:
        if amount <= 0:
            raise ValueError("amount must be positive")
        self.balance += amount
        self.history.append(("deposit", amount))

    def withdraw(self, amount: float) -> None:
'''

C_CODE = '''#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct node {
    int value;
    struct node *next;
};

/* Reverses a singly linked list in place and returns the new head. */
struct node *reverse(struct node *head) {
'''

CPP_CODE = '''#include <algorithm>
#include <iostream>
#include <vector>

template <typename T>
class Stack {
 public:
  void push(const T& value) { items_.push_back(value); }
  bool empty() const { return items_.empty(); }
'''

JAVA_CODE = '''public class Fibonacci {
    public static void main(String[] args) {
        for (int i = 0; i < 10; i++) {
            System.out.println("fib(" + i + ") = " + fib(i));
        }
    }

    private static int fib(int n) {
'''

JAVASCRIPT = '''// Debounces a function: it runs once, after `wait` milliseconds without a call.
function debounce(fn, wait) {
  let timer = null;
  return function (...args) {
'''

GO_CODE = '''package main

import (
\t"fmt"
\t"net/http"
)

func main() {
\thttp.HandleFunc("/health", func(w http.ResponseWriter, r *http.Request) {
'''

SQL = '''CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL, city TEXT);
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER, total REAL, placed_on DATE);

-- The five customers who spent the most in 2023
SELECT c.name, SUM(o.total) AS spent
FROM'''

SHELL = '''#!/bin/bash
set -euo pipefail

# Backs up every directory given on the command line into a dated archive.
backup_dir="${BACKUP_DIR:-$HOME/backups}"
mkdir -p "$backup_dir"
for dir in "$@"; do
'''

JSON = '''{
  "users": [
    {"id": 1, "name": "Alice Johnson", "email": "alice@example.com", "roles": ["admin", "editor"], "active": true},
    {"id": 2, "name": "Bob Smith", "email": "bob@example.com", "roles": ["viewer"], "active": false},
    {"id": 3, "name":'''

HTML = '''<!DOCTYPE html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <title>Garden Club</title>
</head>
<body>
  <h1>Welcome to the Garden Club</h1>
  <ul>
    <li><a href="/events">Events</a></li>
'''

CSV = '''date,city,high_c,low_c,rain_mm
2024-01-01,Oslo,-2,-9,0.0
2024-01-02,Oslo,-1,-7,1.2
2024-01-03,Oslo,0,-4,3.8
2024-01-04,Oslo,'''

MATHS = """Question: A train travels 120 kilometres in 2 hours. It then travels 90 kilometres in the next hour and a \
half. What is its average speed over the whole journey?

Answer: The total distance is 120 + 90 = 210 kilometres. The total time is 2 + 1.5 ="""

PROOF = r"""\begin{theorem}
There are infinitely many prime numbers.
\end{theorem}
\begin{proof}
Suppose, for contradiction, that there are only finitely many primes $p_1, p_2, \dots, p_n$. Consider the number \
$N = p_1 p_2 \cdots p_n + 1$."""

LIST = """The planets of the Solar System, from the Sun outwards:
1. Mercury
2. Venus
3. Earth
4."""

DIALOGUE = """SCENE II. A kitchen, early morning.

MARTHA: You were out late again.
JOHN: The bridge was closed. I had to walk round by the mill.
MARTHA: The bridge has been closed since Easter, John.
JOHN:"""

POEM = """Shall I compare thee to a summer's day?
Thou art more lovely and more temperate:
Rough winds do shake the darling buds of May,
And summer's lease hath all too short a date:
"""

# Article 1 of the Universal Declaration of Human Rights; its second sentence is left to the model.
FRENCH = "Article premier. Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont doués de"
GERMAN = "Artikel 1. Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft und"
SPANISH = ("Artículo 1. Todos los seres humanos nacen libres e iguales en dignidad y derechos y, dotados como están de "
           "razón y conciencia,")
ITALIAN = "La città di Roma fu fondata, secondo la leggenda, il 21 aprile del 753 a.C. da Romolo. I sette colli sono"
RUSSIAN = "Статья 1. Все люди рождаются свободными и равными в своем достоинстве и правах. Они наделены"
CHINESE = "第一条 人人生而自由,在尊严和权利上一律平等。他们赋有"
JAPANESE = "第一条 すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。人間は、"
ARABIC = "المادة 1. يولد جميع الناس أحرارا متساوين في الكرامة والحقوق. وقد وهبوا"
HINDI = "अनुच्छेद १. सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।"


def smollm2_prompts():
    return [
        ("story", ENGLISH_STORY),
        ("science", ENGLISH_SCIENCE),
        ("history", ENGLISH_HISTORY),
        ("recipe", ENGLISH_RECIPE),
        ("letter", ENGLISH_LETTER),
        ("news", ENGLISH_NEWS),
        ("python", PYTHON),
        ("python-class", PYTHON_CLASS),
        ("c", C_CODE),
        ("c++", CPP_CODE),
        ("java", JAVA_CODE),
        ("javascript", JAVASCRIPT),
        ("go", GO_CODE),
        ("sql", SQL),
        ("shell", SHELL),
        ("json", JSON),
        ("html", HTML),
        ("csv", CSV),
        ("maths", MATHS),
        ("proof", PROOF),
        ("list", LIST),
        ("play", DIALOGUE),
        ("poem", POEM),
        ("french", FRENCH),
        ("spanish", SPANISH),
        ("chat-fact", chat(SYSTEM, ("user", "What is gravity, and who described it first?"))),
        ("chat-turns", chat(SYSTEM, ("user", "Name a prime number."),
                            ("assistant", "Seven is a prime number."),
                            ("user", "Another one, please, and explain why it is prime."))),
        ("chat-code", chat(("system", "Be brief. Answer with code."),
                           ("user", "Write a Python function that counts the vowels in a string."))),
        ("bible-long", bible("Gen 1:1-26")),
        ("apache-long", license_text("Apache-2.0", 0, 4800)),
        ("gpl-long", license_text("GPL-3", 0, 2600)),
        ("artistic-medium", license_text("Artistic", 0, 1500)),
    ]


def gemma3_prompts():
    return [
        ("story", ENGLISH_STORY),
        ("science", ENGLISH_SCIENCE),
        ("recipe", ENGLISH_RECIPE),
        ("news", ENGLISH_NEWS),
        ("python-class", PYTHON_CLASS),
        ("c", C_CODE),
        ("json", JSON),
        ("maths", MATHS),
        ("french", FRENCH),
        ("german", GERMAN),
        ("chinese", CHINESE),
        ("russian", RUSSIAN),
        ("hindi", HINDI),
        ("bible-three-windows", bible("Gen 1:1-2:25")),
        ("gpl-two-windows", license_text("GPL-3", 0, 5600)),
        ("apache-one-window", license_text("Apache-2.0", 0, 2600)),
    ]
