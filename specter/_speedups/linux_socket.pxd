"""What Linux offers for datagrams in bursts, as C declares it."""

from libc.stdint cimport uint16_t, uint32_t

cdef extern from *:
    """
    #if defined(__linux__)
    #include <sys/socket.h>
    #include <netinet/in.h>
    #include <arpa/inet.h>
    #include <poll.h>
    #include <time.h>
    #ifndef UDP_SEGMENT
    #define UDP_SEGMENT 103
    #endif
    #ifndef UDP_GRO
    #define UDP_GRO 104
    #endif
    #ifndef SOL_UDP
    #define SOL_UDP 17
    #endif
    #else
    #error "batched UDP is for Linux"
    #endif

    static struct cmsghdr *specter_next_cmsg(struct msghdr *message, struct cmsghdr *header) {
        return header == NULL ? CMSG_FIRSTHDR(message) : CMSG_NXTHDR(message, header);
    }
    """
    ctypedef int socklen_t
    cdef struct iovec:
        void *iov_base
        size_t iov_len
    cdef struct msghdr:
        void *msg_name
        socklen_t msg_namelen
        iovec *msg_iov
        size_t msg_iovlen
        void *msg_control
        size_t msg_controllen
        int msg_flags
    cdef struct mmsghdr:
        msghdr msg_hdr
        unsigned int msg_len
    cdef struct cmsghdr:
        size_t cmsg_len
        int cmsg_level
        int cmsg_type
    cdef struct in_addr:
        uint32_t s_addr
    cdef struct in6_addr:
        unsigned char s6_addr[16]
    cdef struct sockaddr_in:
        unsigned short sin_family
        uint16_t sin_port
        in_addr sin_addr
    cdef struct sockaddr_in6:
        unsigned short sin6_family
        uint16_t sin6_port
        uint32_t sin6_flowinfo
        in6_addr sin6_addr
        uint32_t sin6_scope_id
    cdef struct sockaddr_storage:
        unsigned short ss_family
    cdef struct pollfd:
        int fd
        short events
        short revents
    cdef struct timespec:
        long tv_sec
        long tv_nsec
    cmsghdr *specter_next_cmsg(msghdr *message, cmsghdr *header) nogil
    unsigned char *CMSG_DATA(cmsghdr *header) nogil
    size_t CMSG_LEN(size_t length) nogil
    size_t CMSG_SPACE(size_t length) nogil
    int recvmmsg(int fd, mmsghdr *messages, unsigned int count, int flags, timespec *timeout) nogil
    ssize_t recvmsg(int fd, msghdr *message, int flags) nogil
    ssize_t sendmsg(int fd, const msghdr *message, int flags) nogil
    int setsockopt(int fd, int level, int option, const void *value, socklen_t size) nogil
    int ppoll(pollfd *descriptors, unsigned long count, const timespec *timeout, const void *mask) nogil
    int clock_gettime(int clock, timespec *value) nogil
    uint16_t ntohs(uint16_t value) nogil
    uint16_t htons(uint16_t value) nogil
    uint32_t ntohl(uint32_t value) nogil
    uint32_t htonl(uint32_t value) nogil
    int inet_pton(int family, const char *text, void *address) nogil
    const char *inet_ntop(int family, const void *address, char *text, socklen_t size) nogil
    int AF_INET, AF_INET6
    int MSG_DONTWAIT, MSG_TRUNC
    int SOL_UDP, UDP_SEGMENT, UDP_GRO
    int IPPROTO_IP, IPPROTO_IPV6, IP_TOS, IPV6_TCLASS
    short POLLIN, POLLOUT
    int CLOCK_MONOTONIC
