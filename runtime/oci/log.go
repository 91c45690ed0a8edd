package oci

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"
)

// logger writes messages in the two forms that callers of runc read.
type logger struct {
	file      io.Writer
	apart     bool // file is not standard error, where people look
	json      bool
	debugging bool
}

// open directs the log. Without a path it stays on standard error.
func (l *logger) open(path, format string) error {
	switch format {
	case "text":
	case "json":
		l.json = true
	default:
		return fmt.Errorf("--log-format is text or json, not %q", format)
	}
	if path == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("opening the log: %w", err)
	}
	l.file, l.apart = f, true
	return nil
}

// error logs why the command failed. Callers take the log's last line for it.
func (l *logger) error(text string) {
	l.write("error", text)
	if l.apart {
		fmt.Fprintln(os.Stderr, text)
	}
}

func (l *logger) warn(format string, args ...any) { l.write("warning", fmt.Sprintf(format, args...)) }

func (l *logger) debug(format string, args ...any) {
	if l.debugging {
		l.write("debug", fmt.Sprintf(format, args...))
	}
}

func (l *logger) write(level, text string) {
	now := time.Now().UTC().Format(time.RFC3339)
	var line []byte
	if l.json {
		line, _ = json.Marshal(struct {
			Level string `json:"level"`
			Msg   string `json:"msg"`
			Time  string `json:"time"`
		}{level, text, now}) // strings always encode
	} else {
		line = []byte("time=" + strconv.Quote(now) + " level=" + level + " msg=" + strconv.Quote(text))
	}
	_, _ = l.file.Write(append(line, '\n')) // there is nowhere to say that it failed
}
