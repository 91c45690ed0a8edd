package processes

import (
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/davit-engine/davit/errs"
)

func TestValidateArgs(t *testing.T) {
	for args, refused := range map[string]bool{
		"-ef": false, "aux": false, "-o pid,cmd": false, "-o pid=PID": false, "-eo pid=NUMBER": false, "-o cmd=pid": false, "": false,
		"-o uid=PID": true, "-o uid= PID": true, "-o pid=PID -o cmd=PID": true, "a -O uid=PIDS": true, "=PID": true,
	} {
		if err := ValidateArgs(args); (err != nil) != refused || err != nil && !errs.Is(err, errs.InvalidParameter) {
			t.Errorf("%q: %v", args, err)
		}
	}
	if err := ValidateArgs("-o uid=PID,x -f"); err.Error() != `specifying "uid=PID,x" is not allowed` {
		t.Error(err)
	}
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name, text string
		titles     string
		rows       []string // fields joined by |
		err        string
	}{
		{"full", "UID PID PPID CMD\nroot 7 1 sh -c  a b\nroot 8 1 other\nroot 9 7 x\n", "UID PID PPID CMD", []string{"root|7|1|sh -c a b", "root|9|7|x"}, ""},
		{"threads", "PID LWP CMD\n7 - sh\n- 7 -\n8 - no\n- 8 -\n", "PID LWP CMD", []string{"7|-|sh", "-|7|-"}, ""},
		{"fewer fields", "PID TTY CMD\n7\n", "PID TTY CMD", []string{"7"}, ""},
		{"blank of another alphabet", "PID CMD\n7 a\u2003b\n", "PID CMD", []string{"7|a\u2003b"}, ""},
		{"none of ours", "PID CMD\n1 init\n", "PID CMD", nil, ""},
		{"a number alone", "PID\n7\n", "PID", []string{"7"}, ""},
		{"no column of numbers", "UID CMD\nroot sh\n", "", nil, "Couldn't find PID field in ps output"},
		{"nothing", "", "", nil, "Couldn't find PID field in ps output"},
		{"a word for a number", "PID CMD\nx sh\n", "", nil, `Unexpected pid 'x': strconv.Atoi: parsing "x": invalid syntax`},
	} {
		got, err := Parse(c.text, []int{7, 9})
		if c.err != "" {
			if err == nil || err.Error() != c.err {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		var rows []string
		for _, p := range got.Processes {
			rows = append(rows, strings.Join(p, "|"))
		}
		if err != nil || strings.Join(got.Titles, " ") != c.titles || !reflect.DeepEqual(rows, c.rows) || got.Processes == nil {
			t.Errorf("%s: %v %q, %v", c.name, got.Titles, rows, err)
		}
	}
	if got := Select([]int{7, 9}); got != "-q7,9" {
		t.Error(got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("UID PID CMD\nroot 7 sh\n- - x\n")
	f.Fuzz(func(_ *testing.T, text string) {
		_, _ = Parse(text, []int{7})
		_ = ValidateArgs(text)
		_, _ = read(fstest.MapFS{"7/stat": {Data: []byte(text)}, "7/status": {Data: []byte(text)}, "7/cmdline": {}}, 7)
	})
}

func TestRead(t *testing.T) {
	boot := time.Date(2026, 3, 1, 10, 0, 0, 0, time.Local)
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	proc := fstest.MapFS{
		"stat": file("cpu 1\nbtime " + strconv.FormatInt(boot.Unix(), 10) + "\n"),
		// pid (name) state ppid pgrp session tty ... utime(14) stime(15) ... starttime(22)
		"7/stat":    file("7 (a) b) S 1 7 7 34819 0 0 0 0 0 0 36000 6100 0 0 20 0 1 0 6000 0"),
		"7/status":  file("Name:\tsh\nUid:\t5\t4294967294\t5\t5\n"),
		"7/cmdline": file("sh\x00-c\x00sleep 1\x00"),
		"8/stat":    file("8 (gone) Z 7 7 7 0 0 0 0 0 0 0 0 0 0 0 20 0 1 0 0 0"),
		"8/status":  file("Uid:\t0\t4294967294\t0\t0\n"),
		"8/cmdline": file(""),
		"9/stat":    file("nonsense"),
		"9/status":  file(""), "9/cmdline": file(""),
	}
	got, err := Read(proc, []int{7, 8, 9, 10}, boot.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	want := [][]string{
		{"4294967294", "7", "1", "11", "10:01", "pts/3", "00:07:01", "sh -c sleep 1"},
		{"4294967294", "8", "7", "0", "10:00", "?", "00:00:00", "[gone]"},
	}
	if !reflect.DeepEqual(got.Processes, want) {
		t.Errorf("got %q, want %q", got.Processes, want)
	}
}

// TestReadTheHost reads this process, as the kernel shows it.
func TestReadTheHost(t *testing.T) {
	got, err := Read(os.DirFS("/proc"), []int{os.Getpid()}, time.Now())
	if err != nil || len(got.Processes) != 1 || got.Processes[0][1] != strconv.Itoa(os.Getpid()) || !strings.Contains(got.Processes[0][7], "processes.test") {
		t.Errorf("%v, %v", got, err)
	}
}

func TestTerminal(t *testing.T) {
	for device, want := range map[int]string{0: "?", 136 << 8: "pts/0", 136<<8 | 3: "pts/3", 137<<8 | 1: "pts/257", 4<<8 | 1: "tty1", 4<<8 | 64: "?", 136<<8 | 0x100<<12: "pts/256"} {
		if got := terminal(device); got != want {
			t.Errorf("%x: %s, want %s", device, got, want)
		}
	}
}

func TestStartTime(t *testing.T) {
	now := time.Date(2026, 3, 2, 1, 0, 0, 0, time.UTC)
	for at, want := range map[time.Time]string{now: "01:00", now.Add(-2 * time.Hour): "Mar01", now.AddDate(-1, 0, 0): "2025"} {
		if got := startTime(at, now); got != want {
			t.Errorf("%v: %s, want %s", at, got, want)
		}
	}
}
