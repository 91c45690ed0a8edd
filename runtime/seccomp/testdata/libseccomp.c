// Builds filters with libseccomp, for comparison. Input lines:
//   names                  then one name a line up to "end": prints its number on each architecture
//   filter DEFAULT         starts a filter with an action (hexadecimal)
//   arch NAME              adds an architecture (x86, x86_64, x32)
//   rule ACTION NAME N     adds a rule with N conditions, each on a line "INDEX OP A B"
//   end                    prints the result of each rule, "|" and the program in hexadecimal
#define _GNU_SOURCE
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int main(void)
{
	static const uint32_t arches[] = {SCMP_ARCH_X86_64, SCMP_ARCH_X86, SCMP_ARCH_X32, SCMP_ARCH_AARCH64, SCMP_ARCH_ARM};
	scmp_filter_ctx ctx = NULL;
	char word[64], name[128];
	unsigned int action, n, index, op;
	unsigned long long a, b;
	while (scanf("%63s", word) == 1) {
		if (!strcmp(word, "names")) {
			while (scanf("%127s", name) == 1 && strcmp(name, "end")) {
				for (int i = 0; i < 5; i++)
					printf("%d ", seccomp_syscall_resolve_name_arch(arches[i], name));
				printf("\n");
			}
		} else if (!strcmp(word, "filter")) {
			if (scanf("%x", &action) != 1)
				return 2;
			ctx = seccomp_init(action);
			seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
		} else if (!strcmp(word, "arch")) {
			if (scanf("%127s", name) != 1)
				return 2;
			seccomp_arch_add(ctx, seccomp_arch_resolve_name(name));
		} else if (!strcmp(word, "rule")) {
			struct scmp_arg_cmp args[6];
			if (scanf("%x %127s %u", &action, name, &n) != 3 || n > 6)
				return 2;
			for (unsigned int i = 0; i < n; i++) {
				if (scanf("%u %u %llx %llx", &index, &op, &a, &b) != 4)
					return 2;
				args[i] = (struct scmp_arg_cmp){index, op, a, b};
			}
			int nr = seccomp_syscall_resolve_name(name);
			printf("%d ", nr == __NR_SCMP_ERROR ? 1 : seccomp_rule_add_array(ctx, action, nr, n, args));
		} else if (!strcmp(word, "end")) {
			unsigned char code[8];
			int fd = memfd_create("filter", 0);
			printf("|");
			if (seccomp_export_bpf(ctx, fd) == 0) {
				lseek(fd, 0, SEEK_SET);
				while (read(fd, code, 8) == 8)
					for (int i = 0; i < 8; i++)
						printf("%02x", code[i]);
			}
			printf("\n");
			close(fd);
			seccomp_release(ctx);
		}
	}
	return 0;
}
