//go:build linux && (amd64 || arm64)

package confine_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-registry/berth/internal/infra/confine"
)

// play is the main function of the processes that the tests start.
func play(role string, args []string) {
	var l confine.Limits
	if len(args) > 0 {
		must(json.Unmarshal([]byte(args[0]), &l))
		args = args[1:]
	}
	switch role {
	case "echo":
		must(confine.Enter(l))
		_, err := io.Copy(struct{ io.Writer }{os.Stdout}, struct{ io.Reader }{os.Stdin})
		must(err)
	case "spin":
		must(confine.Enter(l))
		fmt.Print(".")
		for i := 0; ; i++ {
			runtime.KeepAlive(i)
		}
	case "deaf":
		for {
			time.Sleep(time.Hour)
		}
	case "write":
		must(confine.Enter(l))
		size, err := strconv.Atoi(args[1])
		must(err)
		f, err := os.Create(args[0])
		must(err)
		n, err := f.Write(make([]byte, size))
		fmt.Println(n, errors.Unwrap(err))
	case "open":
		must(confine.Enter(l))
		var n int
		for ; ; n++ {
			if _, err := unix.Dup(0); errors.Is(err, unix.EMFILE) {
				break
			} else if err != nil {
				must(err)
			}
		}
		fmt.Println(n)
	case "calls":
		calls(l)
	case "foreign":
		must(confine.Enter(l))
		callForeign()
	case "look":
		look(l, args)
	case "panic":
		must(confine.Enter(l))
		panic("the worst")
	case "chatter":
		for i := range 100_000 {
			fmt.Fprintf(os.Stderr, "line %d\n", i)
		}
		os.Exit(7)
	case "twice":
		must(confine.Enter(l))
		fmt.Println(confine.Filter(os.Getpid()))
	case "parent":
		p, err := confine.Start(context.Background(), confine.Command{Args: []string{as, "deaf"}})
		must(err)
		fmt.Println(p.PID())
		must(p.Wait())
	default:
		must(fmt.Errorf("no role %q", role))
	}
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
}

const callThreads = 4

// forbidden are calls that must be refused, with arguments that would do no harm.
func forbidden() map[string][4]uintptr {
	bad := ^uintptr(0)
	return map[string][4]uintptr{
		"socket":            {unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM, 0},
		"socket unix":       {unix.SYS_SOCKET, unix.AF_UNIX, unix.SOCK_STREAM, 0},
		"socketpair":        {unix.SYS_SOCKETPAIR, unix.AF_UNIX, unix.SOCK_STREAM, 0},
		"connect":           {unix.SYS_CONNECT, bad, 0, 0},
		"bind":              {unix.SYS_BIND, bad, 0, 0},
		"listen":            {unix.SYS_LISTEN, bad, 0, 0},
		"accept4":           {unix.SYS_ACCEPT4, bad, 0, 0},
		"sendto":            {unix.SYS_SENDTO, bad, 0, 0},
		"sendmsg":           {unix.SYS_SENDMSG, bad, 0, 0},
		"recvmsg":           {unix.SYS_RECVMSG, bad, 0, 0},
		"execve":            {unix.SYS_EXECVE, 0, 0, 0},
		"execveat":          {unix.SYS_EXECVEAT, bad, 0, 0},
		"fork":              {unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0},
		"clone namespace":   {unix.SYS_CLONE, unix.CLONE_THREAD | unix.CLONE_NEWUSER, 0, 0},
		"ptrace":            {unix.SYS_PTRACE, bad, 0, 0},
		"process_vm_readv":  {unix.SYS_PROCESS_VM_READV, bad, 0, 0},
		"process_vm_writev": {unix.SYS_PROCESS_VM_WRITEV, bad, 0, 0},
		"pidfd_open":        {unix.SYS_PIDFD_OPEN, 1, 0, 0},
		"pidfd_getfd":       {unix.SYS_PIDFD_GETFD, bad, 0, 0},
		"mount":             {unix.SYS_MOUNT, 0, 0, 0},
		"umount2":           {unix.SYS_UMOUNT2, 0, 0, 0},
		"open_tree":         {unix.SYS_OPEN_TREE, bad, 0, 0},
		"fsopen":            {unix.SYS_FSOPEN, 0, 0, 0},
		"pivot_root":        {unix.SYS_PIVOT_ROOT, 0, 0, 0},
		"chroot":            {unix.SYS_CHROOT, 0, 0, 0},
		"unshare":           {unix.SYS_UNSHARE, 0, 0, 0},
		"setns":             {unix.SYS_SETNS, bad, 0, 0},
		"bpf":               {unix.SYS_BPF, bad, 0, 0},
		"perf_event_open":   {unix.SYS_PERF_EVENT_OPEN, 0, 0, 0},
		"keyctl":            {unix.SYS_KEYCTL, bad, 0, 0},
		"add_key":           {unix.SYS_ADD_KEY, 0, 0, 0},
		"request_key":       {unix.SYS_REQUEST_KEY, 0, 0, 0},
		"kexec_load":        {unix.SYS_KEXEC_LOAD, 0, 0, bad},
		"init_module":       {unix.SYS_INIT_MODULE, 0, 0, 0},
		"finit_module":      {unix.SYS_FINIT_MODULE, bad, 0, 0},
		"open_by_handle_at": {unix.SYS_OPEN_BY_HANDLE_AT, bad, 0, 0},
		"userfaultfd":       {unix.SYS_USERFAULTFD, bad, 0, 0},
		"io_uring_setup":    {unix.SYS_IO_URING_SETUP, 0, 0, 0},
		"io_setup":          {unix.SYS_IO_SETUP, 0, 0, 0},
		"memfd_create":      {unix.SYS_MEMFD_CREATE, 0, 0, 0},
		"shmget":            {unix.SYS_SHMGET, 0, 1 << 20, 0},
		"kill parent":       {unix.SYS_KILL, uintptr(os.Getppid()), 0, 0},
		"tgkill parent":     {unix.SYS_TGKILL, uintptr(os.Getppid()), uintptr(os.Getppid()), 0},
		"kill group":        {unix.SYS_KILL, 0, 0, 0},
		"tkill":             {unix.SYS_TKILL, uintptr(os.Getpid()), 0, 0},
		"setrlimit":         {unix.SYS_SETRLIMIT, unix.RLIMIT_CPU, 0, 0},
		"prlimit64":         {unix.SYS_PRLIMIT64, 0, unix.RLIMIT_CPU, 1 << 40},
		"prctl":             {unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 1, 0},
		"seccomp":           {unix.SYS_SECCOMP, bad, 0, 0},
		"setuid":            {unix.SYS_SETUID, 0, 0, 0},
		"ioctl":             {unix.SYS_IOCTL, 0, unix.TIOCSTI, 0},
		"mprotect code":     {unix.SYS_MPROTECT, 0, 0, unix.PROT_EXEC},
		"mmap code":         {unix.SYS_MMAP, 0, 0, unix.PROT_EXEC},
		"no such call":      {4000, 0, 0, 0},
	}
}

// calls makes all forbidden calls, in threads that live before Enter and in new ones.
func calls(l confine.Limits) {
	var ready, done sync.WaitGroup
	entered := make(chan struct{})
	said := make(chan string, 2*callThreads)
	ready.Add(callThreads)
	thread := func() {
		runtime.LockOSThread()
		refused := 0
		for name, c := range forbidden() {
			if _, _, errno := unix.RawSyscall(c[0], c[1], c[2], c[3]); errno == unix.EPERM {
				refused++
			} else {
				said <- fmt.Sprintf("%s: %v", name, errno)
				return
			}
		}
		said <- fmt.Sprintf("refused %d", refused)
	}
	for range callThreads {
		done.Go(func() {
			runtime.LockOSThread()
			ready.Done()
			<-entered
			thread()
		})
	}
	ready.Wait()
	must(confine.Enter(l))
	close(entered)
	for range callThreads {
		done.Go(thread)
	}
	done.Wait()
	close(said)
	for s := range said {
		fmt.Println(s)
	}
}

// seen is what a process sees around it.
type seen struct {
	Env   []string
	Dir   string
	Files []string
}

func look(l confine.Limits, args []string) {
	must(confine.Enter(l))
	fmt.Print(" ")
	defer func() { _, _ = io.Copy(io.Discard, os.Stdin) }() // stay until all was looked at
	var s seen
	s.Env = os.Environ()
	var err error
	s.Dir, err = os.Getwd()
	must(err)
	say := func(what string, err error) {
		if err != nil {
			if !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EPERM) {
				must(fmt.Errorf("%s: %w", what, err))
			}
			what = "no " + what
		}
		s.Files = append(s.Files, what)
	}
	read := func(dir string) error { _, err := os.ReadFile(filepath.Join(dir, "file")); return err }
	write := func(dir string) error { return os.WriteFile(filepath.Join(dir, "new"), nil, 0o600) }
	say("read readable", read(args[0]))
	say("write readable", write(args[0]))
	say("read writable", read(args[1]))
	say("write writable", write(args[1]))
	say("remove writable", os.Remove(filepath.Join(args[1], "new")))
	say("read closed", read(args[2]))
	say("write closed", write(args[2]))
	_, err = os.ReadDir(args[2])
	say("list closed", err)
	_, err = os.ReadFile(fmt.Sprintf("/proc/%d/environ", os.Getppid()))
	say("read parent", err)
	_, err = os.StartProcess("/proc/self/exe", []string{"x"}, &os.ProcAttr{})
	say("run", err)
	var core unix.Rlimit
	must(unix.Getrlimit(unix.RLIMIT_CORE, &core))
	s.Files = append(s.Files, strings.TrimSpace(fmt.Sprint("core ", core.Max)))
	must(json.NewEncoder(os.Stdout).Encode(s))
}
