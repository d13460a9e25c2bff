"""Members of zip-based files and their XML, read without trusting either."""

from __future__ import annotations

import io
import posixpath
import zipfile
import zlib
from typing import Any
from urllib.parse import unquote

from lavra.corpus.parts import Unreadable


class Archive:
    """A zip file whose limits `detect.inside_zip` has checked."""

    def __init__(self, data: bytes) -> None:
        self._zip = zipfile.ZipFile(io.BytesIO(data))
        self.names = frozenset(self._zip.namelist())

    def member(self, name: str) -> bytes:
        """A member's bytes. Raises `Unreadable`, kind ``corrupt``."""
        try:
            return self._zip.read(name)
        except (KeyError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
            raise Unreadable("corrupt", f"the file is damaged or cut off: {name} cannot be read ({error})") from None

    def xml(self, name: str) -> Any:
        """A member's root element: no entities, no DTD, no network."""
        from lxml import etree

        parser = etree.XMLParser(resolve_entities=False, load_dtd=False, no_network=True, recover=True)
        root = etree.fromstring(self.member(name), parser)
        if root is None:
            raise Unreadable("corrupt", f"the file is damaged or cut off: {name} is not XML")
        return root


def beside(name: str, href: str) -> str:
    """The member that ``href``, written in member ``name``, points to (its fragment left out)."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), unquote(href.split("#")[0])))


def local(element: Any) -> str:
    """An element's tag without its namespace; empty for comments and the like."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""
