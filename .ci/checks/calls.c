/* Makes every system call there is, with arguments that no call can use, and prints what came
 * of each: once for programs of this machine, once for those of its 32-bit relative. Then the
 * calls that a filter judges by their arguments. Each call is made by a process of its own, so
 * that one which ends, blocks or breaks its process is only one line. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define LAST 480 /* beyond the newest call, so that unknown ones are seen as well */
#define PATIENCE 400 /* milliseconds for a call that blocks */

static long native(long number, long first) {
  long result;
  register long r10 __asm__("r10") = -1, r8 __asm__("r8") = -1, r9 __asm__("r9") = -1;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(first), "S"(-1L), "d"(-1L), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
}

static long relative(long number, long first) {
  long result;
  __asm__ volatile("push %%rbx; mov %2, %%ebx; int $0x80; pop %%rbx"
                   : "=a"(result)
                   : "a"(number), "r"((int)first), "c"(-1), "d"(-1), "S"(-1), "D"(-1)
                   : "memory", "r8", "r9", "r10", "r11");
  return (int)result;
}

static void try(const char *kind, long (*call)(long, long), long number, long first) {
  int ends[2];
  if (pipe(ends)) exit(2);
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    long result = call(number, first);
    /* What a call gives differs from run to run; whether it worked does not. */
    int said = result < 0 && result > -4096 ? (int)-result : 0;
    ssize_t wrote = write(ends[1], &said, sizeof said);
    _exit(wrote == sizeof said ? 0 : 1);
  }
  close(ends[1]);
  int status = 0, waited = 0;
  while (waitpid(child, &status, WNOHANG) == 0) {
    if (waited++ > PATIENCE) {
      kill(-child, SIGKILL);
      kill(child, SIGKILL);
      waitpid(child, &status, 0);
      waited = -1;
      break;
    }
    usleep(1000);
  }
  kill(-child, SIGKILL);
  int said = -1;
  if (read(ends[0], &said, sizeof said) != sizeof said) said = -1;
  close(ends[0]);
  printf("%s %ld(%#lx): ", kind, number, (unsigned long)first);
  if (said >= 0)
    printf("%s\n", said ? strerrorname_np(said) ? strerrorname_np(said) : "?" : "works");
  else if (waited < 0)
    printf("blocks\n");
  else if (WIFSIGNALED(status))
    printf("signal %d\n", WTERMSIG(status));
  else
    printf("exits\n");
}

int main(void) {
  for (long number = 0; number < LAST; number++) try("native", native, number, -1);
  for (long number = 0; number < LAST; number++) try("relative", relative, number, -1);
  for (long family = 0; family < 48; family++) {
    try("socket", native, SYS_socket, family);
    try("relative socket", relative, 359, family);
    try("relative socketcall", relative, 102, family);
  }
  long personas[] = {0, 1, 6, 8, 0x20000, 0x20008, 0x40000, 0x40000 | 8, 0x400000, 0xffffffff};
  for (unsigned i = 0; i < sizeof personas / sizeof *personas; i++) {
    try("personality", native, SYS_personality, personas[i]);
    try("relative personality", relative, 136, personas[i]);
  }
  for (int bit = 0; bit < 32; bit++) {
    /* Flags that cannot go together make the kernel refuse what the filter lets through. */
    try("clone", native, SYS_clone, (1L << bit) | 0x10000);
    try("relative clone", relative, 120, (1L << bit) | 0x10000);
    try("unshare", native, SYS_unshare, 1L << bit);
    try("prctl", native, SYS_prctl, bit);
    try("ioctl", native, SYS_ioctl, bit);
  }
  /* The interface for 32-bit pointers. */
  for (long number = 0; number < 560; number += 13) try("x32", native, 0x40000000 | number, -1);
  return 0;
}
