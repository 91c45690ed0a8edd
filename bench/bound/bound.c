// bound: the least that a kernel has to do to run one program in a container.
//
//	gcc -O2 -static -o bound bound.c
//	bound ROOTFS RUNS [net] [cgroup]      ROOTFS holds a static program /hello
//
// No engine, no client, no configuration, no security: directories for an
// overlay, control groups, one clone, the mounts that every container gets,
// pivot_root, execve, wait. What an engine takes longer than this is its own
// doing. For each run one line on standard output: the whole, and then the
// parts named in the first line, in microseconds. Needs root.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MUST(call)                                                     \
	do {                                                           \
		if ((long)(call) < 0) {                                \
			fprintf(stderr, "bound: %s: %s\n", #call, strerror(errno)); \
			_exit(9);                                      \
		}                                                      \
	} while (0)

enum part { PREPARE, CLONE, JOIN, OVERLAY, MOUNTS, PIVOT, EXEC, RUN, PARTS };
static const char *part_names[PARTS] = {"prepare", "clone", "join-cgroups", "overlay", "mounts", "pivot", "exec", "run-and-reap"};

// When the child reached the end of its parts; shared memory, written before exec.
static double *reached;

static double now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

// The hierarchies to make a group in: v1 controllers mounted one by one, or v2.
static char groups[16][256];
static int group_count;

static void find_groups(void) {
	static const char *v1[] = {"cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids"};
	char path[256];
	if (access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0) {
		snprintf(groups[group_count++], sizeof groups[0], "/sys/fs/cgroup/davit-bound");
		return;
	}
	for (size_t i = 0; i < sizeof v1 / sizeof *v1; i++) {
		snprintf(path, sizeof path, "/sys/fs/cgroup/%s/cgroup.procs", v1[i]);
		if (access(path, F_OK) == 0)
			snprintf(groups[group_count++], sizeof groups[0], "/sys/fs/cgroup/%s/davit-bound", v1[i]);
	}
}

static void copy_line(const char *from, const char *to) {
	char buf[256];
	int in = open(from, O_RDONLY), out = open(to, O_WRONLY);
	if (in >= 0 && out >= 0) {
		ssize_t n = read(in, buf, sizeof buf);
		if (n > 0)
			MUST(write(out, buf, n));
	}
	close(in);
	close(out);
}

static void make_groups(void) {
	char to[300];
	for (int i = 0; i < group_count; i++) {
		MUST(mkdir(groups[i], 0755));
		if (strstr(groups[i], "/cpuset/")) { // empty until told
			snprintf(to, sizeof to, "%s/cpuset.cpus", groups[i]);
			copy_line("/sys/fs/cgroup/cpuset/cpuset.cpus", to);
			snprintf(to, sizeof to, "%s/cpuset.mems", groups[i]);
			copy_line("/sys/fs/cgroup/cpuset/cpuset.mems", to);
		}
	}
}

static void remove_groups(void) {
	for (int i = 0; i < group_count; i++)
		while (rmdir(groups[i]) < 0 && errno == EBUSY)
			usleep(100);
}

static void child(const char *rootfs, const char *work) {
	static const struct {
		const char *name;
		int major, minor;
	} nodes[] = {{"dev/null", 1, 3}, {"dev/zero", 1, 5}, {"dev/full", 1, 7}, {"dev/random", 1, 8}, {"dev/urandom", 1, 9}, {"dev/tty", 5, 0}};
	char options[1024], path[300];
	reached[CLONE] = now();
	for (int i = 0; i < group_count; i++) {
		snprintf(path, sizeof path, "%s/cgroup.procs", groups[i]);
		int fd = open(path, O_WRONLY | O_CLOEXEC);
		MUST(fd);
		MUST(write(fd, "0", 1));
		close(fd);
	}
	if (group_count)
		MUST(unshare(CLONE_NEWCGROUP));
	reached[JOIN] = now();
	MUST(mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL));
	snprintf(path, sizeof path, "%s/merged", work);
	snprintf(options, sizeof options, "lowerdir=%s,upperdir=%s/upper,workdir=%s/work", rootfs, work, work);
	MUST(mount("overlay", path, "overlay", 0, options));
	MUST(chdir(path));
	reached[OVERLAY] = now();
	MUST(mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL));
	MUST(mount("tmpfs", "dev", "tmpfs", MS_NOSUID, "mode=755,size=64k"));
	for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++)
		MUST(mknod(nodes[i].name, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)));
	MUST(mkdir("dev/pts", 0755));
	MUST(mkdir("dev/shm", 01777));
	MUST(mkdir("dev/mqueue", 0755));
	MUST(mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620"));
	MUST(mount("shm", "dev/shm", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=1777,size=65536k"));
	MUST(mount("mqueue", "dev/mqueue", "mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL));
	if (mount("sysfs", "sys", "sysfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		MUST(mount("/sys", "sys", NULL, MS_BIND | MS_REC, NULL)); // without a network namespace of its own
	reached[MOUNTS] = now();
	MUST(syscall(SYS_pivot_root, ".", "."));
	MUST(umount2(".", MNT_DETACH));
	MUST(chdir("/"));
	MUST(sethostname("bound", 5));
	reached[PIVOT] = now();
	char *const argv[] = {"/hello", NULL}, *const env[] = {NULL};
	execve("/hello", argv, env);
	fprintf(stderr, "bound: exec: %s\n", strerror(errno));
	_exit(9);
}

int main(int argc, char **argv) {
	if (argc < 3) {
		fprintf(stderr, "bound ROOTFS RUNS [net] [cgroup]\n");
		return 2;
	}
	uint64_t flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_VFORK;
	for (int i = 3; i < argc; i++) {
		if (!strcmp(argv[i], "net"))
			flags |= CLONE_NEWNET;
		else if (!strcmp(argv[i], "cgroup"))
			find_groups();
	}
	reached = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char base[] = "/tmp/davit-boundXXXXXX", work[64], path[300];
	MUST(mkdtemp(base) ? 0 : -1);
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	printf("whole");
	for (int i = 0; i < PARTS; i++)
		printf(" %s", part_names[i]);
	printf("\n");
	static const char *dirs[] = {"upper", "work", "merged"}, *points[] = {"proc", "dev", "sys"};
	for (int run = -3, runs = atoi(argv[2]); run < runs; run++) { // three to warm up
		double begin = now();
		snprintf(work, sizeof work, "%s/%d", base, run);
		MUST(mkdir(work, 0700));
		for (int i = 0; i < 3; i++) {
			snprintf(path, sizeof path, "%s/%s", work, dirs[i]);
			MUST(mkdir(path, 0755));
		}
		for (int i = 0; i < 3; i++) {
			snprintf(path, sizeof path, "%s/upper/%s", work, points[i]);
			MUST(mkdir(path, 0755));
		}
		make_groups();
		reached[PREPARE] = now();
		struct clone_args args = {.flags = flags, .exit_signal = SIGCHLD};
		long pid = syscall(SYS_clone3, &args, sizeof args);
		MUST(pid);
		if (pid == 0) {
			dup2(null, 1);
			child(argv[1], work);
		}
		reached[EXEC] = now(); // vfork: the child has left for its program
		int status;
		MUST(waitpid(pid, &status, 0));
		reached[RUN] = now();
		if (status) {
			fprintf(stderr, "bound: the child ended with %x\n", status);
			remove_groups();
			return 1;
		}
		remove_groups();
		for (int i = 0; i < 3; i++) {
			snprintf(path, sizeof path, "%s/upper/%s", work, points[i]);
			rmdir(path);
		}
		snprintf(path, sizeof path, "%s/work/work", work);
		rmdir(path);
		for (int i = 0; i < 3; i++) {
			snprintf(path, sizeof path, "%s/%s", work, dirs[i]);
			rmdir(path);
		}
		rmdir(work);
		if (run < 0)
			continue;
		printf("%.0f", reached[RUN] - begin);
		for (int i = 0; i < PARTS; i++)
			printf(" %.0f", reached[i] - (i ? reached[i - 1] : begin));
		printf("\n");
		fflush(stdout);
	}
	rmdir(base);
	return 0;
}
