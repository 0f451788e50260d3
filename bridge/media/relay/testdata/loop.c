/* The least that relays: one thread, epoll, one recvfrom and one sendto per packet,
 * no checks, no counters. What BenchmarkRelay compares with.
 *
 * usage: loop ADDRESS COUNT  (reads COUNT lines "PORT_A PORT_B TO_A TO_B")
 * What comes to PORT_A goes from PORT_B to TO_B, and back. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

struct half {
	int fd;
	struct half *other;
	struct sockaddr_in to;
};

static int open_port(const char *address, int port)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
	int size = 256 << 10, fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);

	inet_pton(AF_INET, address, &at.sin_addr);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
	if (bind(fd, (struct sockaddr *)&at, sizeof at) < 0) {
		perror("bind");
		exit(1);
	}
	return fd;
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	int count = atoi(argv[2]), poll = epoll_create1(0);
	struct half *all = calloc(2 * count, sizeof *all);
	static struct epoll_event events[256];
	static char packet[2048];

	for (int i = 0; i < count; i++) {
		int port[2], to[2];
		if (scanf("%d %d %d %d", &port[0], &port[1], &to[0], &to[1]) != 4)
			return 2;
		for (int j = 0; j < 2; j++) {
			struct half *h = &all[2 * i + j];
			struct epoll_event e = {.events = EPOLLIN, .data.ptr = h};
			h->fd = open_port(argv[1], port[j]);
			h->other = &all[2 * i + 1 - j];
			h->to = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(to[j])};
			inet_pton(AF_INET, argv[1], &h->to.sin_addr);
			epoll_ctl(poll, EPOLL_CTL_ADD, h->fd, &e);
		}
	}
	puts("ready");
	fflush(stdout);
	for (;;) {
		int n = epoll_wait(poll, events, 256, -1);
		for (int i = 0; i < n; i++) {
			struct half *h = events[i].data.ptr, *o = h->other;
			struct sockaddr_in from;
			socklen_t size = sizeof from;
			ssize_t got = recvfrom(h->fd, packet, sizeof packet, 0, (struct sockaddr *)&from, &size);
			if (got > 0)
				sendto(o->fd, packet, got, 0, (struct sockaddr *)&o->to, sizeof o->to);
		}
	}
}
