/* The first program of `onggi-runtime`: starts its interpreter once, from a copy that nobody can write (S-01).
 *
 * A process in a container may reach the file of a program of ours through /proc/PID/exe, and could overwrite the host's
 * interpreter (CVE-2019-5736). So what makes a process for a container runs from a sealed copy in memory. Where this was
 * not compiled (scripts/isolate), entry.py does the same, at the price of a second start.
 * INTERPRETER and SCRIPT are paths, defined by whoever compiles.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U /* Linux 6.3 */
#endif
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x0020 /* Linux 6.3 */
#endif

static char *const MAKES_PROCESSES[] = {"create", "run", "exec"};

/* A word that is a value by chance costs a copy, and changes nothing else. */
static int makes_a_process(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        for (size_t k = 0; k < sizeof(MAKES_PROCESSES) / sizeof(*MAKES_PROCESSES); k++)
            if (strcmp(argv[i], MAKES_PROCESSES[k]) == 0)
                return 1;
    return 0;
}

/* Descriptor of the copy, closed at exec, or -1 with errno. As sealing.py; memfd_create(2), fcntl(2), "File sealing". */
static int sealed_copy(const char *path)
{
    int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;
    int source = open(path, O_RDONLY | O_CLOEXEC);
    int copy = memfd_create("python", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
    struct stat status;

    if (copy >= 0)
        seals |= F_SEAL_EXEC;
    else if (errno == EINVAL)
        copy = memfd_create("python", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (source < 0 || copy < 0 || fchmod(copy, 0555) < 0 || fstat(source, &status) < 0)
        return -1;
    for (off_t left = status.st_size; left > 0;) {
        ssize_t copied = sendfile(copy, source, NULL, left);
        if (copied <= 0)
            return -1;
        left -= copied;
    }
    return fcntl(copy, F_ADD_SEALS, seals) < 0 ? -1 : copy;
}

int main(int argc, char **argv)
{
    char *words[argc + 3];
    int program;

    words[0] = INTERPRETER; /* by its path, from which the interpreter finds its modules */
    words[1] = "-IS";       /* nothing of the environment or the working directory is believed (S-23) */
    words[2] = SCRIPT;
    for (int i = 1; i <= argc; i++)
        words[i + 2] = argv[i]; /* the last one is NULL */
    program = makes_a_process(argc, argv) ? sealed_copy(INTERPRETER) : open(INTERPRETER, O_RDONLY | O_CLOEXEC);
    if (program >= 0)
        fexecve(program, words, environ);
    fprintf(stderr, "onggi-runtime: %s: %s\n", INTERPRETER, strerror(errno));
    return 1;
}
