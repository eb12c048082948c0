/* What the services of the corpus run: a server whose arguments are a little script.
 *
 *   listen ADDRESS PORT   bind a TCP socket; an IPv6 address takes IPv6 only, `*` takes both
 *   unix PATH             bind a Unix socket
 *   inherit               take the socket that systemd passes as descriptor 3
 *   connection            standard input is one connection: answer it with the next `serve`
 *   serve STATUS          answer every connection with this HTTP status, for ever
 *   redirect URL          answer every connection with a redirection, for ever
 *   garbage               answer every connection with what is no HTTP, for ever
 *   hang                  accept connections and say nothing, for ever
 *   drop                  accept connections and close them, for ever
 *   idle                  wait for ever
 *   sleep MILLISECONDS
 *   say TEXT              write a line to standard output
 *   notify TEXT           tell systemd (sd_notify(3))
 *   bus NAME              own a name on the system bus
 *   fork PIDFILE          go on in a child; the parent writes its number (`-`: nowhere) and ends
 *   touch PATH            make an empty file
 *   once PATH CODE        the first time, make the file and exit with the code
 *   eat MEGABYTES         take so much memory
 *   fill PATH MEGABYTES   write so much to a file, and say so when that fails
 *   spawn COUNT           start so many processes that wait for ever
 *   down INTERFACE        take a network interface down; `-`: all but that of loopback
 *   raise SIGNAL
 *   exit CODE
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int listener = -1;

static void die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static void listen_tcp(const char *address, int port)
{
	struct sockaddr_in four = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	int is_both = !strcmp(address, "*"), one = 1, only = !is_both;
	int is_six = is_both || inet_pton(AF_INET6, address, &six.sin6_addr) == 1;
	if (!is_six && inet_pton(AF_INET, address, &four.sin_addr) != 1) {
		errno = EINVAL;
		die(address);
	}
	listener = socket(is_six ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0)
		die("socket");
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (is_six)
		setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only);
	if (bind(listener, is_six ? (void *)&six : (void *)&four, is_six ? sizeof six : sizeof four))
		die("bind");
	if (listen(listener, 16))
		die("listen");
}

static struct sockaddr_un unix_address(const char *path, socklen_t *length)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	strncpy(address.sun_path, path, sizeof address.sun_path - 1);
	*length = offsetof(struct sockaddr_un, sun_path) + strlen(address.sun_path);
	if (address.sun_path[0] == '@')
		address.sun_path[0] = 0;
	return address;
}

static void listen_unix(const char *path)
{
	socklen_t length;
	struct sockaddr_un address = unix_address(path, &length);
	unlink(path);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || bind(listener, (void *)&address, length) || listen(listener, 16))
		die(path);
}

static void notify(const char *text)
{
	const char *path = getenv("NOTIFY_SOCKET");
	socklen_t length;
	if (!path)
		return;
	struct sockaddr_un address = unix_address(path, &length);
	int sender = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (sendto(sender, text, strlen(text), 0, (void *)&address, length) < 0)
		die("notify");
	close(sender);
}

/* The D-Bus specification's wire format, little endian, for two calls of one kind. */
static size_t pad(char *out, size_t at, size_t to)
{
	while (at % to)
		out[at++] = 0;
	return at;
}

static size_t put_number(char *out, size_t at, uint32_t number)
{
	at = pad(out, at, 4);
	for (int byte = 0; byte < 4; byte++)
		out[at++] = number >> (8 * byte);
	return at;
}

static size_t put_string(char *out, size_t at, const char *text)
{
	at = put_number(out, at, strlen(text));
	memcpy(out + at, text, strlen(text) + 1);
	return at + strlen(text) + 1;
}

static size_t put_field(char *out, size_t at, char code, const char *type, const char *text)
{
	at = pad(out, at, 8);
	out[at++] = code;
	out[at++] = 1;
	out[at++] = type[0];
	out[at++] = 0;
	if (type[0] != 'g')
		return put_string(out, at, text);
	out[at++] = strlen(text);
	memcpy(out + at, text, strlen(text) + 1);
	return at + strlen(text) + 1;
}

static void call(int bus, uint32_t serial, const char *member, const char *name)
{
	char message[1024] = { 'l', 1, 0, 1 }, body[512];
	size_t length = 0;
	if (name)
		length = put_number(body, put_string(body, 0, name), 0);
	put_number(message, 4, length);
	put_number(message, 8, serial);
	size_t at = 16;
	at = put_field(message, at, 1, "o", "/org/freedesktop/DBus");
	at = put_field(message, at, 6, "s", "org.freedesktop.DBus");
	at = put_field(message, at, 2, "s", "org.freedesktop.DBus");
	at = put_field(message, at, 3, "s", member);
	if (name)
		at = put_field(message, at, 8, "g", "su");
	put_number(message, 12, at - 16);
	at = pad(message, at, 8);
	memcpy(message + at, body, length);
	if (write(bus, message, at + length) < 0)
		die(member);
}

static void own_bus_name(const char *name)
{
	socklen_t length;
	struct sockaddr_un address = unix_address("/run/dbus/system_bus_socket", &length);
	int bus = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char answer[4096], hello[128], hex[64] = "";
	for (char *digit = (snprintf(answer, sizeof answer, "%u", getuid()), answer); *digit; digit++)
		sprintf(hex + strlen(hex), "%02x", *digit);
	if (connect(bus, (void *)&address, length))
		die("the system bus");
	snprintf(hello, sizeof hello, "AUTH EXTERNAL %s\r\n", hex);
	if (write(bus, "", 1) < 0 || write(bus, hello, strlen(hello)) < 0 || read(bus, answer, sizeof answer) < 0
	    || write(bus, "BEGIN\r\n", 7) < 0)
		die("the system bus");
	call(bus, 1, "Hello", NULL);
	call(bus, 2, "RequestName", name);
	/* Whether it was granted is systemd's to find out; the connection stays open. */
}

static void go_on_in_child(const char *path)
{
	pid_t child = fork();
	if (child < 0)
		die("fork");
	if (child == 0) {
		setsid();
		return;
	}
	if (strcmp(path, "-")) {
		FILE *file = fopen(path, "w");
		if (!file)
			die(path);
		fprintf(file, "%d\n", child);
		fclose(file);
	}
	exit(0);
}

static void eat(size_t megabytes)
{
	for (size_t eaten = 0; eaten < megabytes; eaten++) {
		char *memory = malloc(1 << 20);
		if (!memory)
			die("malloc");
		for (size_t at = 0; at < 1 << 20; at += 512)
			memory[at] = (char)rand() | 1;
	}
}

static void fill(const char *path, size_t megabytes)
{
	static char block[1 << 20];
	int file = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0644);
	if (file < 0)
		die(path);
	memset(block, 'x', sizeof block);
	for (size_t written = 0; written < megabytes << 20;) {
		ssize_t more = write(file, block, sizeof block);
		if (more < 0)
			die(path);
		written += more;
	}
	close(file);
}

static void spawn(long count)
{
	for (long made = 0; made < count; made++) {
		pid_t child = fork();
		if (child < 0)
			die("fork");
		while (child == 0)
			pause();
	}
}

static void take_down(const char *wanted)
{
	int any = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct if_nameindex *all = if_nameindex();
	for (struct if_nameindex *one = all; one && one->if_index; one++) {
		struct ifreq request = { .ifr_flags = 0 };
		if (strcmp(wanted, "-") ? strcmp(wanted, one->if_name) : !strcmp(one->if_name, "lo"))
			continue;
		strncpy(request.ifr_name, one->if_name, IFNAMSIZ - 1);
		if (ioctl(any, SIOCSIFFLAGS, &request))
			die(one->if_name);
		printf("%s is down\n", one->if_name);
	}
	if_freenameindex(all);
	close(any);
}

/* Reads a request up to the empty line. */
static void read_request(int connection)
{
	char seen[4096];
	size_t length = 0;
	ssize_t more;
	while (length < sizeof seen - 1 && (more = read(connection, seen + length, sizeof seen - 1 - length)) > 0) {
		length += more;
		seen[length] = 0;
		if (strstr(seen, "\r\n\r\n"))
			break;
	}
}

static void answer(int in, int out, const char *kind, const char *argument)
{
	char text[1024];
	if (!strcmp(kind, "hang"))
		return;
	if (strcmp(kind, "drop"))
		read_request(in);
	if (!strcmp(kind, "serve"))
		snprintf(text, sizeof text, "HTTP/1.1 %s\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n", argument);
	else if (!strcmp(kind, "redirect"))
		snprintf(text, sizeof text, "HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", argument);
	else
		snprintf(text, sizeof text, "%s", strcmp(kind, "drop") ? "220 this is no web server\r\n" : "");
	if (write(out, text, strlen(text)) < 0)
		perror("write");
	shutdown(out, SHUT_WR);
	if (in != 0) {
		/* Unread data would make of the end a reset. */
		char rest[4096];
		while (strcmp(kind, "drop") && read(in, rest, sizeof rest) > 0)
			;
		close(in);
	}
}

static void for_ever(const char *kind, const char *argument)
{
	for (;;) {
		int connection = accept(listener, NULL, NULL);
		if (connection < 0)
			die("accept");
		answer(connection, connection, kind, argument);
	}
}

int main(int count, char **words)
{
	int is_connection = 0;
	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_IGN);
	setvbuf(stdout, NULL, _IONBF, 0);
	for (int at = 1; at < count; at++) {
		const char *word = words[at];
#define IS(name) (!strcmp(word, name))
#define NEXT (at + 1 < count ? words[++at] : (fprintf(stderr, "%s: an argument is missing\n", word), exit(64), ""))
		if (IS("listen")) {
			const char *address = NEXT;
			listen_tcp(address, atoi(NEXT));
		} else if (IS("unix")) {
			listen_unix(NEXT);
		} else if (IS("inherit")) {
			listener = 3;
			fcntl(3, F_SETFL, fcntl(3, F_GETFL) & ~O_NONBLOCK);
		} else if (IS("connection")) {
			is_connection = 1;
		} else if (IS("serve") || IS("redirect")) {
			const char *argument = NEXT;
			if (is_connection) {
				answer(0, 1, word, argument);
				exit(0);
			}
			for_ever(word, argument);
		} else if (IS("garbage") || IS("hang") || IS("drop")) {
			for_ever(word, NULL);
		} else if (IS("idle")) {
			for (;;)
				pause();
		} else if (IS("sleep")) {
			usleep(1000 * (useconds_t)atol(NEXT));
		} else if (IS("say")) {
			puts(NEXT);
		} else if (IS("notify")) {
			notify(NEXT);
		} else if (IS("bus")) {
			own_bus_name(NEXT);
		} else if (IS("fork")) {
			go_on_in_child(NEXT);
		} else if (IS("touch")) {
			close(open(NEXT, O_CREAT | O_WRONLY, 0644));
		} else if (IS("once")) {
			const char *path = NEXT;
			int code = atoi(NEXT);
			int made = open(path, O_CREAT | O_EXCL | O_WRONLY, 0644);
			if (made >= 0)
				exit(code);
		} else if (IS("eat")) {
			eat(strtoul(NEXT, NULL, 10));
		} else if (IS("fill")) {
			const char *path = NEXT;
			fill(path, strtoul(NEXT, NULL, 10));
		} else if (IS("spawn")) {
			spawn(atol(NEXT));
		} else if (IS("down")) {
			take_down(NEXT);
		} else if (IS("raise")) {
			raise(atoi(NEXT));
		} else if (IS("exit")) {
			exit(atoi(NEXT));
		} else {
			fprintf(stderr, "%s: no such word\n", word);
			exit(64);
		}
	}
	return 0;
}
