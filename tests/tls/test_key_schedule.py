"""The key schedule against the trace of RFC 8448, section 3 ("Simple 1-RTT Handshake")."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from specter._backend import protection
from specter.tls import key_schedule as keys
from specter.tls.ciphers import CipherSuite
from specter.tls.key_schedule import KeySchedule, Transcript
from specter.tls.messages import ClientHello, ServerHello

CLIENT_HELLO = bytes.fromhex(
    "010000c00303cb34ecb1e78163ba1c38c6dacb196a6dffa21a8d9912ec18a2ef6283024dece7000006130113031302010000910000000b"
    "0009000006736572766572ff01000100000a00140012001d001700180019010001010102010301040023000000330026"
    "0024001d002099381de560e4bd43d23d8e435a7dbafeb3c06e51c13cae4d5413691e529aaf2c002b0003020304000d0020001e0403050306"
    "03020308040805080604010501060102010402050206020202002d00020101001c00024001"
)
SERVER_HELLO = bytes.fromhex(
    "020000560303a6af06a4121860dc5e6e60249cd34c95930c8ac5cb1434dac155772ed3e2692800130100002e00330024001d0020c9828876"
    "112095fe66762bdbf7c672e156d6cc253b833df1dd69b1b04e751f0f002b00020304"
)
CLIENT_PRIVATE = bytes.fromhex("49af42ba7f7994852d713ef2784bcbcaa7911de26adc5642cb634540e7ea5005")
SERVER_PUBLIC = bytes.fromhex("c9828876112095fe66762bdbf7c672e156d6cc253b833df1dd69b1b04e751f0f")
SHARED = "8bd4054fb55b9d63fdfbacf9f04b9f0d35e6d63f537563efd46272900f89492d"
HELLO_HASH = "860c06edc07858ee8e78f0e7428c58edd6b43f2ca3e6e95f02ed063cf0e1cad8"
CLIENT_HANDSHAKE = "b3eddb126e067f35a780b3abf45e2d8f3b1a950738f52e9600746a0e27a55a21"
SERVER_HANDSHAKE = "b67b7d690cc16c4e75e54213cb2d37b4e9c912bcded9105d42befd59d391ad38"
FINISHED_HASH = "9608102a0f1ccc6db6250b7b7e417b1a000eaada3daae4777a7686c9ff83df13"
CLIENT_APPLICATION = "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5"
SERVER_APPLICATION = "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643"


@pytest.fixture
def schedule() -> KeySchedule:
    return KeySchedule(CipherSuite.TLS_AES_128_GCM_SHA256)


def test_the_trace_is_the_published_one() -> None:
    assert hashlib.sha256(CLIENT_HELLO + SERVER_HELLO).hexdigest() == HELLO_HASH
    secret = X25519PrivateKey.from_private_bytes(CLIENT_PRIVATE).exchange(
        X25519PublicKey.from_public_bytes(SERVER_PUBLIC)
    )
    assert secret.hex() == SHARED


def test_handshake_secrets(schedule: KeySchedule) -> None:
    transcript = Transcript(CipherSuite.TLS_AES_128_GCM_SHA256)
    transcript.update(CLIENT_HELLO)
    transcript.update(SERVER_HELLO)
    assert transcript.digest().hex() == HELLO_HASH
    schedule.mix_key_exchange(bytes.fromhex(SHARED))
    assert schedule.derive(keys.CLIENT_HANDSHAKE_TRAFFIC, transcript.digest()).hex() == CLIENT_HANDSHAKE
    assert schedule.derive(keys.SERVER_HANDSHAKE_TRAFFIC, transcript.digest()).hex() == SERVER_HANDSHAKE


def test_application_secrets(schedule: KeySchedule) -> None:
    schedule.mix_key_exchange(bytes.fromhex(SHARED))
    schedule.finish()
    digest = bytes.fromhex(FINISHED_HASH)
    assert schedule.derive(keys.CLIENT_APPLICATION_TRAFFIC, digest).hex() == CLIENT_APPLICATION
    assert schedule.derive(keys.SERVER_APPLICATION_TRAFFIC, digest).hex() == SERVER_APPLICATION


def test_finished_key(schedule: KeySchedule) -> None:
    key = protection.expand_label("sha256", bytes.fromhex(SERVER_HANDSHAKE), b"finished", 32)
    assert key.hex() == "008d3b66f816ea559f96b537e885c31fc068bf492c652f01f288a1d8cdc19fc8"
    assert len(schedule.finished_mac(bytes(32), bytes(32))) == 32


def test_ticket_secret(schedule: KeySchedule) -> None:
    resumption = bytes.fromhex("7df235f2031d2a051287d02b0241b0bfdaf86cc856231f2d5aba46c434ec196c")
    expected = "4ecd0eb6ec3b4d87f5d6028f922ca4c5851a277fd41311c9e62d2c9492e1c4f3"
    assert schedule.ticket_secret(resumption, b"\0\0").hex() == expected


def test_message_hash() -> None:
    transcript = Transcript(CipherSuite.TLS_AES_256_GCM_SHA384)
    transcript.update(b"hello")
    transcript.replace_by_message_hash()
    transcript.update(b"more")
    inner = hashlib.sha384(b"hello").digest()
    assert transcript.digest() == hashlib.sha384(b"\xfe\0\0\x30" + inner + b"more").digest()


def test_messages_of_the_trace_round_trip() -> None:
    assert ServerHello.parse(SERVER_HELLO[4:]).encode() == SERVER_HELLO
    assert ClientHello.parse(CLIENT_HELLO[4:]).encode() == CLIENT_HELLO


def test_secrets_are_not_shown(schedule: KeySchedule) -> None:
    schedule.mix_key_exchange(bytes.fromhex(SHARED))
    assert "object at" in repr(schedule)
    schedule.erase()
    assert schedule._secret == b""
