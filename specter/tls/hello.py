"""The ClientHello we send: extensions, their order, and the second one after a HelloRetryRequest."""

from __future__ import annotations

from collections.abc import Mapping

from specter._entropy import Entropy
from specter.tls import extensions as ext
from specter.tls.config import ClientTlsConfig
from specter.tls.extensions import Extension, ExtensionType
from specter.tls.key_exchange import PrivateShare
from specter.tls.messages import RANDOM_SIZE, ClientHello
from specter.tls.names import ip_address
from specter.tls.psk import PskOffer


def first_hello(
    config: ClientTlsConfig,
    shares: Mapping[int, PrivateShare],
    transport_parameters: bytes,
    entropy: Entropy,
    psk: PskOffer | None = None,
) -> ClientHello:
    """Build the first ClientHello of a connection; that of a ``psk`` still needs its binder."""
    random = entropy.token(RANDOM_SIZE)
    extensions = [*_standard(config, shares, transport_parameters), *config.extra_extensions]
    if psk is not None and psk.early_data:
        extensions.append((ExtensionType.EARLY_DATA, b""))
    if config.order_extensions is not None:
        extensions = list(config.order_extensions(extensions, entropy))
    if psk is not None:
        extensions.append((ExtensionType.PRE_SHARED_KEY, psk.extension()))
    return ClientHello(random, config.cipher_suites, dict(extensions))


def second_hello(first: ClientHello, share: tuple[int, bytes] | None, cookie: bytes, *, psk: bool) -> ClientHello:
    """Build the ClientHello that answers a HelloRetryRequest: a new ``share``, a ``cookie``, or both.

    It offers no early data any more, and a ticket again only with ``psk``.
    """
    dropped = {ExtensionType.EARLY_DATA} if psk else {ExtensionType.EARLY_DATA, ExtensionType.PRE_SHARED_KEY}
    extensions: dict[int, bytes] = {}
    for kind, data in first.extensions.items():
        if kind in dropped:
            continue
        extensions[kind] = data
        if kind == ExtensionType.KEY_SHARE and share is not None:
            extensions[kind] = ext.encode_shares([share])
        if kind == ExtensionType.KEY_SHARE and cookie:
            extensions[ExtensionType.COOKIE] = ext.encode_cookie(cookie)
    return ClientHello(first.random, first.cipher_suites, extensions)


def host_name(name: str) -> str:
    """Return what server_name says for a host, ``""`` for an IP address, which it must not say."""
    return name.removesuffix(".") if ip_address(name.partition("%")[0]) is None else ""


def _standard(
    config: ClientTlsConfig, shares: Mapping[int, PrivateShare], transport_parameters: bytes
) -> list[Extension]:
    host = host_name(config.server_name)
    found: list[Extension] = [(ExtensionType.SERVER_NAME, ext.encode_server_name(host))] if host else []
    found += [
        (ExtensionType.SUPPORTED_GROUPS, ext.encode_groups(config.groups)),
        (ExtensionType.SIGNATURE_ALGORITHMS, ext.encode_groups(config.signature_schemes)),
        (ExtensionType.ALPN, ext.encode_alpn(config.alpn)),
        (ExtensionType.SUPPORTED_VERSIONS, ext.encode_versions((ext.TLS13,))),
        (ExtensionType.PSK_KEY_EXCHANGE_MODES, bytes((1, ext.PSK_DHE_KE))),
        (ExtensionType.KEY_SHARE, ext.encode_shares((group, share.public) for group, share in shares.items())),
        (ExtensionType.QUIC_TRANSPORT_PARAMETERS, transport_parameters),
    ]
    if config.certificate_compression:
        algorithms = ext.encode_compression(config.certificate_compression)
        found.append((ExtensionType.COMPRESS_CERTIFICATE, algorithms))
    return found
