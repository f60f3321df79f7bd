"""A name server for HTTPS records, over UDP."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import dns.flags
import dns.message
import dns.rcode
import dns.rrset


class NameServer:
    """Answers questions for HTTPS records from ``zone``: name to ``(ttl, record, ...)``."""

    def __init__(self) -> None:
        self.zone: dict[str, tuple[object, ...]] = {}
        self.asked: list[str] = []
        self.twist: Callable[[bytes], bytes | None] = lambda message: message
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            data, address = self._socket.recvfrom(4096)
            if not data:
                return
            answer = self.twist(self._answer(data))
            if answer is not None:
                self._socket.sendto(answer, address)

    def _answer(self, data: bytes) -> bytes:
        question = dns.message.from_wire(data)
        name = question.question[0].name
        self.asked.append(name.to_text(omit_final_dot=True))
        answer = dns.message.make_response(question)
        answer.flags |= dns.flags.RA
        found = self.zone.get(self.asked[-1])
        if found is None:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        elif found:
            ttl, *records = found
            kind = "CNAME" if str(records[0]).startswith("@") else "HTTPS"
            texts = [str(record).removeprefix("@") for record in records]
            answer.answer.append(dns.rrset.from_text_list(name, int(str(ttl)), "IN", kind, texts))
            if kind == "CNAME":
                ttl, *records = self.zone[texts[0].rstrip(".")]
                answer.answer.append(
                    dns.rrset.from_text_list(texts[0], int(str(ttl)), "IN", "HTTPS", list(map(str, records)))
                )
        return answer.to_wire()

    def close(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
            waker.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join()
        self._socket.close()
