package processes

import (
	"fmt"
	"io/fs"
	"os/user"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/davit-engine/davit/errs"
)

// tick is a jiffy as /proc shows it (USER_HZ).
const tick = 10 * time.Millisecond

// Read lists pids with the columns of `ps -ef`, from proc, which is /proc or
// looks like it. Processes that end meanwhile are left out.
func Read(proc fs.FS, pids []int, now time.Time) (container.TopResponse, error) {
	stat, err := fs.ReadFile(proc, "stat")
	if err != nil {
		return container.TopResponse{}, errs.New(errs.System, "reading the time of the host's boot: %w", err)
	}
	var boot time.Time
	for line := range strings.Lines(string(stat)) {
		if seconds, ok := strings.CutPrefix(line, "btime "); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(seconds), 10, 64)
			boot = time.Unix(n, 0)
		}
	}
	list := container.TopResponse{Titles: []string{"UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"}, Processes: [][]string{}}
	for _, pid := range pids {
		if p, err := read(proc, pid); err == nil {
			list.Processes = append(list.Processes, p.row(boot, now))
		}
	}
	return list, nil
}

// process is what /proc tells of one.
type process struct {
	pid, ppid, tty int
	uid            string
	used, started  time.Duration // started: since the boot
	command        string
}

func read(proc fs.FS, pid int) (process, error) {
	dir := strconv.Itoa(pid)
	p := process{pid: pid}
	stat, err := fs.ReadFile(proc, dir+"/stat")
	if err != nil {
		return p, err
	}
	status, err := fs.ReadFile(proc, dir+"/status")
	if err != nil {
		return p, err
	}
	command, err := fs.ReadFile(proc, dir+"/cmdline")
	if err != nil {
		return p, err
	}
	// The name, in parentheses, may hold any byte.
	text := string(stat)
	open, shut := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
	if open < 0 || shut < open {
		return p, fmt.Errorf("process %d: malformed stat", pid)
	}
	f := strings.Fields(text[shut+1:])
	if len(f) < 20 {
		return p, fmt.Errorf("process %d: malformed stat", pid)
	}
	n := func(field int) int { // as proc_pid_stat(5) counts them
		v, _ := strconv.Atoi(f[field-3])
		return v
	}
	p.ppid, p.tty = n(4), n(7)
	p.used, p.started = time.Duration(n(14)+n(15))*tick, time.Duration(n(22))*tick
	p.command = strings.TrimRight(strings.ReplaceAll(string(command), "\x00", " "), " ")
	if p.command == "" { // a zombie
		p.command = "[" + text[open+1:shut] + "]"
	}
	for line := range strings.Lines(string(status)) {
		if ids, ok := strings.CutPrefix(line, "Uid:"); ok && len(strings.Fields(ids)) > 1 {
			p.uid = strings.Fields(ids)[1] // the effective one
		}
	}
	return p, nil
}

// row shows the process as ps does.
func (p process) row(boot, now time.Time) []string {
	started := boot.Add(p.started)
	share := 0
	if alive := now.Sub(started); alive > 0 {
		share = min(99, int(100*p.used/alive))
	}
	s := int(p.used.Seconds())
	return []string{
		userName(p.uid), strconv.Itoa(p.pid), strconv.Itoa(p.ppid), strconv.Itoa(share), startTime(started, now), terminal(p.tty),
		fmt.Sprintf("%02d:%02d:%02d", s/3600, s/60%60, s%60), p.command,
	}
}

// userName is the host's name for a user where that fits ps' column.
func userName(uid string) string {
	if u, err := user.LookupId(uid); err == nil && len(u.Username) <= 8 {
		return u.Username
	}
	return uid
}

func startTime(t, now time.Time) string {
	switch {
	case t.YearDay() == now.YearDay() && t.Year() == now.Year():
		return t.Format("15:04")
	case t.Year() == now.Year():
		return t.Format("Jan02")
	}
	return t.Format("2006")
}

// terminal names the device of a terminal: pts have the major numbers 136 to
// 143, the host's consoles 4.
func terminal(device int) string {
	major, minor := device>>8&0xfff, device&0xff|device>>12&0xfff00
	switch {
	case major >= 136 && major <= 143:
		return fmt.Sprintf("pts/%d", (major-136)<<8+minor)
	case major == 4 && minor < 64:
		return fmt.Sprintf("tty%d", minor)
	}
	return "?"
}
