# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: embedsignature=True
"""UDP in bursts on Linux: recvmmsg, UDP_GRO, sendmmsg, UDP_SEGMENT; ``specter._reference.udp`` is the specification.

What the kernel lacks is found out by trying, remembered per socket, and done without. UDP_GRO is for sockets that have
received something. Other systems have no such calls: there this module does not import, and the reference serves.
"""

cimport cython
from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport (
    EAGAIN,
    ECONNREFUSED,
    EINTR,
    EINVAL,
    EIO,
    EMSGSIZE,
    ENETUNREACH,
    EOPNOTSUPP,
    errno,
)
from libc.stdint cimport int64_t, uint16_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset, strerror

import sys

from specter._reference import udp as _reference
from specter._speedups.batch cimport ReceiveBatch, SendBatch
from specter._speedups.linux_socket cimport (
    AF_INET,
    AF_INET6,
    CLOCK_MONOTONIC,
    CMSG_DATA,
    CMSG_LEN,
    CMSG_SPACE,
    IPPROTO_IP,
    IPPROTO_IPV6,
    IPV6_TCLASS,
    IP_TOS,
    MSG_DONTWAIT,
    MSG_TRUNC,
    POLLIN,
    POLLOUT,
    SOL_UDP,
    UDP_GRO,
    UDP_SEGMENT,
    clock_gettime,
    cmsghdr,
    htonl,
    htons,
    inet_ntop,
    inet_pton,
    iovec,
    mmsghdr,
    msghdr,
    ntohl,
    ntohs,
    pollfd,
    ppoll,
    recvmmsg,
    recvmsg,
    sendmsg,
    setsockopt,
    sockaddr_in,
    sockaddr_in6,
    sockaddr_storage,
    socklen_t,
    specter_next_cmsg,
    timespec,
)

if not sys.platform.startswith("linux"):
    raise ImportError("batched UDP is for Linux")

READABLE = _reference.READABLE
WRITABLE = _reference.WRITABLE
WOKEN = _reference.WOKEN
SocketAddress = _reference.SocketAddress

__all__ = ["READABLE", "WOKEN", "WRITABLE", "SocketAddress", "UdpSocket"]

cdef enum:
    SLOT = 1536
    SLOTS = 96
    FEW = 4
    LARGEST = 65536
    CONTROL = 96
    TRAIN = 64
    TRAIN_BYTES = 65000
    FAULTS = 16
    PROBE_AFTER = 64
    PLAIN_FOR = 4096
    PLAIN_FIRST = 64


cdef struct Scratch:
    mmsghdr messages[SLOTS]
    iovec vectors[SLOTS]
    sockaddr_storage names[SLOTS]
    unsigned char controls[SLOTS][CONTROL]


cdef int64_t _now() noexcept nogil:
    cdef timespec value
    clock_gettime(CLOCK_MONOTONIC, &value)
    return <int64_t>value.tv_sec * 1_000_000_000 + value.tv_nsec


cdef object _address(const sockaddr_storage *name):
    """Return the address of a datagram in the form the socket module gives it."""
    cdef char text[64]
    cdef const sockaddr_in *four = <const sockaddr_in *>name
    cdef const sockaddr_in6 *six = <const sockaddr_in6 *>name
    if name.ss_family == AF_INET:
        inet_ntop(AF_INET, &four.sin_addr, text, 64)
        return (text.decode("ascii"), ntohs(four.sin_port))
    inet_ntop(AF_INET6, &six.sin6_addr, text, 64)
    return (text.decode("ascii"), ntohs(six.sin6_port), ntohl(six.sin6_flowinfo), six.sin6_scope_id)


cdef class UdpSocket:
    """A socket towards one peer (``connect``), or towards everyone (``bind``)."""

    cdef object _handle
    cdef int _fd
    cdef int _family
    cdef bint _gso
    cdef bint _gro
    cdef bint _gro_known
    cdef int _uncoalesced
    cdef int _plain_left
    cdef int _wave  # slots that the next read of many prepares: most find a datagram or two
    cdef Scratch *_scratch
    cdef list _unsent
    cdef sockaddr_storage _recent_name
    cdef object _recent_address
    cdef readonly bint connected
    cdef public int64_t refused
    cdef public int64_t dropped
    cdef public int64_t faults
    cdef public Py_ssize_t too_large
    cdef public object label
    cdef public object failure

    def __cinit__(self):
        self._scratch = <Scratch *>calloc(1, sizeof(Scratch))
        if self._scratch is NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self._scratch)

    def __init__(self, handle, *, bint connected):
        self._handle = handle
        self._fd = handle.fileno()
        self._family = handle.family
        self._unsent = []
        self._recent_address = None
        memset(&self._recent_name, 0, sizeof(self._recent_name))
        self.connected = connected
        self.refused = 0
        self.dropped = 0
        self.faults = 0
        self.too_large = 0
        self.label = None
        self.failure = None
        self._gso = True
        self._gro_known = True  # until it is tried: to turn it on, and off at the end, costs each processor a stop
        self._gro = False
        self._uncoalesced = 0
        self._plain_left = PLAIN_FIRST
        self._wave = FEW

    @classmethod
    def connect(cls, address, *, local=None, buffer_size=_reference.BUFFER_SIZE):
        """Return a socket that talks to ``address`` only, from ``local`` if given.

        Raises:
            OSError: the system cannot; no route, for example.
        """
        return cls(_reference.connected_handle(address, local, buffer_size), connected=True)

    @classmethod
    def bind(cls, address, *, buffer_size=_reference.BUFFER_SIZE):
        """Return a socket that listens on ``address`` (port 0: any free port).

        Raises:
            OSError: the system cannot; the port is taken, for example.
        """
        return cls(_reference.bound_handle(address, buffer_size), connected=False)

    # -- receiving --------------------------------------------------------------------------------

    def receive(self, ReceiveBatch batch not None):
        """Move what has arrived into ``batch`` until nothing is left or it is full; return how many."""
        cdef Py_ssize_t before = batch.count
        cdef int faults = 0, got
        while faults < FAULTS and not batch.c_full():
            got = self._receive_whole(batch) if self._gro else self._receive_many(batch)
            if got < 0:
                if errno == EAGAIN or errno == EINTR:
                    break
                faults += 1
                self._note_fault()
            elif got == 0:
                break
        return batch.count - before

    cdef int _note_fault(self) except -1:
        self.faults += 1
        if errno == ECONNREFUSED:
            self.refused += 1
        else:
            self.failure = OSError(errno, strerror(errno).decode("utf-8", "replace"))
        return 0

    cdef bint _set_gro(self, bint on):
        cdef int value = on
        return setsockopt(self._fd, SOL_UDP, UDP_GRO, &value, sizeof(value)) == 0

    cdef void _prepare(self, Py_ssize_t index, unsigned char *data, size_t size) noexcept:
        cdef msghdr *message = &self._scratch.messages[index].msg_hdr
        self._scratch.vectors[index].iov_base = data
        self._scratch.vectors[index].iov_len = size
        message.msg_iov = &self._scratch.vectors[index]
        message.msg_iovlen = 1
        message.msg_control = self._scratch.controls[index]
        message.msg_controllen = CONTROL
        message.msg_flags = 0
        if self.connected:
            message.msg_name = NULL
            message.msg_namelen = 0
        else:
            message.msg_name = &self._scratch.names[index]
            message.msg_namelen = sizeof(sockaddr_storage)

    cdef int _receive_whole(self, ReceiveBatch batch) except -2:
        """Read one message, which GRO may have made of many datagrams."""
        cdef msghdr *message = &self._scratch.messages[0].msg_hdr
        cdef ssize_t size
        cdef Py_ssize_t start = batch.c_free(), piece, left
        cdef int segment = 0, ecn = 0, count = 0
        self._prepare(0, batch.base + start, LARGEST)
        size = recvmsg(self._fd, message, MSG_DONTWAIT)
        if size < 0:
            return -1
        self._read_control(message, &segment, &ecn)
        address = self._source(0)
        if segment <= 0 or segment >= size:
            batch.c_commit_at(start, size, ecn, address)
            self._uncoalesced += 1
            if self._uncoalesced >= PROBE_AFTER:
                self._gro = not self._set_gro(False)
                self._plain_left = PLAIN_FOR
            return 1
        self._uncoalesced = 0
        left = size
        while left > 0:  # may pass the batch's capacity: what the kernel gave cannot be left for later
            piece = segment if segment < left else left
            batch.c_commit_at(start, piece, ecn, address)
            start += piece
            left -= piece
            count += 1
        return count

    cdef int _receive_many(self, ReceiveBatch batch) except -2:
        """Read many datagrams, each into a slot of its own; between batches, look whether GRO would help again."""
        cdef Py_ssize_t base = batch.c_free(), index, slots = (batch.size - base) // SLOT
        cdef int got, segment, ecn
        cdef msghdr *message
        if slots > self._wave:
            slots = self._wave
        if slots > batch.capacity - batch.count:
            slots = batch.capacity - batch.count
        for index in range(slots):
            self._prepare(index, batch.base + base + index * SLOT, SLOT)
        got = recvmmsg(self._fd, self._scratch.messages, <unsigned int>slots, MSG_DONTWAIT, NULL)
        if got < 0:
            return -1
        for index in range(got):
            message = &self._scratch.messages[index].msg_hdr
            if message.msg_flags & MSG_TRUNC:
                self.dropped += 1
                continue
            segment = ecn = 0
            self._read_control(message, &segment, &ecn)
            batch.c_commit_at(base + index * SLOT, self._scratch.messages[index].msg_len, ecn, self._source(index))
        self._plain_left -= got
        self._wave = SLOTS if got == slots else 2 * got if 2 * got > FEW else FEW
        if got < slots:
            if self._plain_left <= 0 and self._gro_known:
                self._gro = self._gro_known = self._set_gro(True)
                self._uncoalesced = 0
            return 0
        return got

    cdef void _read_control(self, msghdr *message, int *segment, int *ecn) noexcept:
        cdef cmsghdr *header = specter_next_cmsg(message, NULL)
        cdef int value
        while header is not NULL:
            if header.cmsg_level == SOL_UDP and header.cmsg_type == UDP_GRO:
                memcpy(&value, CMSG_DATA(header), sizeof(value))
                segment[0] = value
            elif header.cmsg_level == IPPROTO_IP and header.cmsg_type == IP_TOS:
                ecn[0] = CMSG_DATA(header)[0] & 3
            elif header.cmsg_level == IPPROTO_IPV6 and header.cmsg_type == IPV6_TCLASS:
                memcpy(&value, CMSG_DATA(header), sizeof(value))
                ecn[0] = value & 3
            header = specter_next_cmsg(message, header)

    cdef object _source(self, Py_ssize_t index):
        """Return where message ``index`` came from; the label of a connected socket."""
        cdef sockaddr_storage *name
        if self.connected:
            return self.label
        name = &self._scratch.names[index]
        if self._recent_address is None or memcmp(name, &self._recent_name, sizeof(sockaddr_in6)) != 0:
            memcpy(&self._recent_name, name, sizeof(sockaddr_storage))
            self._recent_address = _address(name)
        return self._recent_address

    # -- sending ----------------------------------------------------------------------------------

    @property
    def unsent(self):
        return len(self._unsent)

    def send(self, SendBatch batch not None):
        """Send a burst; return how many of its datagrams wait for ``flush`` because the socket is full."""
        cdef Py_ssize_t index = 0
        if not self._unsent:
            index = self._send_some(batch, 0)
        if index < batch.count:
            for position, (data, address, ecn) in enumerate(batch):
                if position >= index:
                    self._unsent.append((bytes(data), address, ecn))
        return len(self._unsent)

    def flush(self):
        """Send what waits; return how many datagrams still do."""
        cdef SendBatch batch
        cdef Py_ssize_t done, start
        while self._unsent:
            batch = SendBatch()
            for data, address, ecn in self._unsent[: batch.capacity]:
                start = batch.c_begin()
                batch.view[start : start + len(data)] = data
                batch.c_commit(start + len(data), address, ecn)
            done = self._send_some(batch, 0)
            del self._unsent[:done]
            if done < batch.count:
                break
        return len(self._unsent)

    cdef Py_ssize_t _send_some(self, SendBatch batch, Py_ssize_t index) except -1:
        """Send from ``index`` on; return the first datagram for which the socket has no room.

        A refused train may be too large or trains may not work here: its first datagram alone tells. ECONNREFUSED
        and EMSGSIZE may be the answer to an earlier datagram, even a forged one: what counts is saying it twice.
        """
        cdef Py_ssize_t length
        cdef int result, tries = 0
        cdef bint alone = False, doubtful = False
        while index < batch.count:
            length = 1 if alone else self._train(batch, index)
            result = self._send_train(batch, index, length)
            if result >= 0:
                if doubtful:
                    self._gso = False
                index += length
                tries = 0
                alone = doubtful = False
            elif errno == EAGAIN or errno == EINTR:
                return index
            elif length > 1 and (errno == EIO or errno == EINVAL or errno == EOPNOTSUPP):
                alone = doubtful = True
            elif (errno == ECONNREFUSED or errno == EMSGSIZE) and tries < 1:
                self._note_fault()
                tries += 1
            elif length > 1 and errno == EMSGSIZE:
                alone = True
                tries = 0
            else:
                if errno == EMSGSIZE:
                    self.too_large = batch.ends[index] - batch.starts[index]
                self._note_fault()
                self.dropped += length
                index += length
                tries = 0
                doubtful = False
        return index

    cdef Py_ssize_t _train(self, SendBatch batch, Py_ssize_t index):
        """Return how many datagrams from ``index`` on can leave as one: same size (the last may be shorter), peer, mark."""
        cdef Py_ssize_t size = batch.ends[index] - batch.starts[index], count = 1, next_size, total
        if not self._gso:
            return 1
        total = size
        while index + count < batch.count and count < TRAIN:
            next_size = batch.ends[index + count] - batch.starts[index + count]
            if next_size == 0 or next_size > size or total + next_size > TRAIN_BYTES or batch.ecns[index + count] != batch.ecns[index]:
                break
            if not self.connected and batch.c_address(index + count) != batch.c_address(index):
                break
            total += next_size
            count += 1
            if next_size < size:
                break
        return count

    cdef int _send_train(self, SendBatch batch, Py_ssize_t index, Py_ssize_t count) except -2:
        """Send ``count`` datagrams as one message; return -1 with errno set when that fails."""
        cdef msghdr message
        cdef unsigned char control[CONTROL]
        cdef Py_ssize_t offset
        cdef int ecn = batch.ecns[index]
        memset(&message, 0, sizeof(message))
        for offset in range(count):
            self._scratch.vectors[offset].iov_base = batch.base + batch.starts[index + offset]
            self._scratch.vectors[offset].iov_len = batch.ends[index + offset] - batch.starts[index + offset]
        message.msg_iov = self._scratch.vectors
        message.msg_iovlen = count
        if not self.connected:
            message.msg_name = &self._scratch.names[0]
            message.msg_namelen = self._encode(batch.c_address(index), &self._scratch.names[0])
            if message.msg_namelen == 0:
                errno = ENETUNREACH
                return -1
        if ecn or count > 1:
            self._put_control(&message, control, ecn, <uint16_t>self._scratch.vectors[0].iov_len if count > 1 else 0)
        return -1 if sendmsg(self._fd, &message, MSG_DONTWAIT) < 0 else 0

    cdef void _put_control(self, msghdr *message, unsigned char *control, int ecn, uint16_t segment) noexcept:
        """Say how a message is marked, and how large its datagrams are; 0 for neither."""
        cdef cmsghdr *header
        memset(control, 0, CONTROL)
        message.msg_control = control
        message.msg_controllen = (CMSG_SPACE(sizeof(ecn)) if ecn else 0) + (CMSG_SPACE(sizeof(segment)) if segment else 0)
        header = specter_next_cmsg(message, NULL)
        if ecn:
            header.cmsg_level = IPPROTO_IPV6 if self._family == AF_INET6 else IPPROTO_IP
            header.cmsg_type = IPV6_TCLASS if self._family == AF_INET6 else IP_TOS
            header.cmsg_len = CMSG_LEN(sizeof(ecn))
            memcpy(CMSG_DATA(header), &ecn, sizeof(ecn))
            header = specter_next_cmsg(message, header)
        if segment:
            header.cmsg_level = SOL_UDP
            header.cmsg_type = UDP_SEGMENT
            header.cmsg_len = CMSG_LEN(sizeof(segment))
            memcpy(CMSG_DATA(header), &segment, sizeof(segment))

    cdef socklen_t _encode(self, object address, sockaddr_storage *name) except -1:
        """Write an address as the kernel wants it; return its size, 0 when it is not an IP address."""
        cdef sockaddr_in *four = <sockaddr_in *>name
        cdef sockaddr_in6 *six = <sockaddr_in6 *>name
        if address is None:
            return 0
        memset(name, 0, sizeof(sockaddr_storage))
        host = address[0].encode("ascii", "replace")
        if self._family == AF_INET:
            four.sin_family = <unsigned short>AF_INET
            four.sin_port = htons(<uint16_t>address[1])
            return sizeof(sockaddr_in) if inet_pton(AF_INET, host, &four.sin_addr) == 1 else 0
        six.sin6_family = <unsigned short>AF_INET6
        six.sin6_port = htons(<uint16_t>address[1])
        if len(address) == 4:
            six.sin6_flowinfo = htonl(<uint32_t>address[2])
            six.sin6_scope_id = <uint32_t>address[3]
        return sizeof(sockaddr_in6) if inet_pton(AF_INET6, host, &six.sin6_addr) == 1 else 0

    # -- waiting ----------------------------------------------------------------------------------

    def wait(self, timeout, int wake_fd=-1):
        """Sleep until the socket or ``wake_fd`` is ready, at most ``timeout`` ns (negative: no limit).

        Returns a sum of ``READABLE``, ``WRITABLE`` (only looked for while datagrams wait) and ``WOKEN``; 0
        when the time is up. One thread at a time.
        """
        cdef pollfd descriptors[2]
        cdef timespec limit
        cdef int64_t left, end = 0
        cdef int count, ready = 0
        cdef bint forever = timeout < 0
        left = 0 if forever else min(timeout, 1 << 61)
        if left > 0:
            end = _now() + left
        descriptors[0].fd = self._fd
        descriptors[0].events = POLLIN | (POLLOUT if self._unsent else 0)
        descriptors[1].fd = wake_fd
        descriptors[1].events = POLLIN
        while True:
            limit.tv_sec = left // 1_000_000_000
            limit.tv_nsec = left % 1_000_000_000
            descriptors[0].revents = descriptors[1].revents = 0
            with nogil:
                count = ppoll(descriptors, 2 if wake_fd >= 0 else 1, NULL if forever else &limit, NULL)
            if count >= 0:
                break
            if errno != EINTR:
                raise OSError(errno, strerror(errno).decode("utf-8", "replace"))
            PyErr_CheckSignals()
            if left > 0:
                left = max(end - _now(), 0)
        if descriptors[0].revents & ~POLLOUT:
            ready |= 1
        if descriptors[0].revents & POLLOUT:
            ready |= 2
        if descriptors[1].revents:
            ready |= 4
        return ready

    # -- the rest ---------------------------------------------------------------------------------

    @property
    def offloads(self):
        """The batching in use on this socket, for diagnosis: ``{"gso": bool, "gro": bool}``."""
        return {"gso": self._gso, "gro": self._gro}

    @property
    def local_address(self):
        return self._handle.getsockname()

    @property
    def peer_address(self):
        """The connected peer; None on a bound socket."""
        return self._handle.getpeername() if self.connected else None

    @property
    def max_payload(self):
        """The largest UDP payload that the interface carries, as far as the system tells."""
        return _reference.payload_limit(self._handle)

    def fileno(self):
        """Return the descriptor, -1 once closed."""
        return self._handle.fileno()

    def close(self):
        self._unsent.clear()
        self._fd = -1
        self._handle.close()
