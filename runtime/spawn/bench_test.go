package spawn

import (
	"testing"

	"github.com/davit-engine/davit/runtime/namespace"
	"github.com/davit-engine/davit/runtime/program"
)

// BenchmarkStart is a whole life of a container that does nothing, as Docker
// would make it but for joining cgroups. The case "bare" makes the namespaces
// and filesystems alone and no more: what the rest costs is the difference.
func BenchmarkStart(b *testing.B) {
	needRoot(b)
	dir := layer(b)
	facts := DetectFacts()
	users, err := namespace.User(mapTo(100000), mapTo(200000))
	must(b, err)
	defer users.Close()
	for _, c := range []struct {
		name   string
		change func(*Request)
	}{
		{"default", func(*Request) {}},
		{"bare", func(r *Request) {
			r.Spec.Mounts = append(r.Spec.Mounts[:4:4], r.Spec.Mounts[5:]...)
			r.Spec.Linux.MaskedPaths, r.Spec.Linux.ReadonlyPaths, r.Spec.Linux.Sysctl = nil, nil, nil
		}},
		{"hostnet", func(r *Request) {
			r.Spec.Linux.Namespaces = append(r.Spec.Linux.Namespaces[:1:1], r.Spec.Linux.Namespaces[2:]...)
			r.Spec.Linux.Sysctl = nil
		}},
		{"nocgroupmount", func(r *Request) {
			r.Spec.Mounts = append(r.Spec.Mounts[:4:4], r.Spec.Mounts[5:]...)
		}},
		{"users", func(r *Request) {
			inUsers(r)
			r.UserNS = users
		}},
		{"copied", func(r *Request) { r.Spec.Linux.Namespaces[3].Path = "/proc/self/ns/pid" }},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				r := &Request{Spec: dockerSpec("/bin/true"), Root: overlay(b, dir), Facts: &facts}
				c.change(r)
				b.StartTimer()
				p, err := Start(r)
				if err != nil {
					b.Fatal(err)
				}
				p.PidFD.Close()
				if s, err := p.Wait(); err != nil || s != 0 {
					b.Fatal(s, err)
				}
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	in := program.Input{Spec: dockerSpec("/bin/true"), Root: program.Root{Overlay: &program.Overlay{Lower: []string{"/l"}, Upper: "/u", Work: "/w"}}, Facts: DetectFacts()}
	in.Facts.CgroupV1 = nil
	b.ReportAllocs()
	for b.Loop() {
		p, err := program.Compile(in)
		if err != nil {
			b.Fatal(err)
		}
		link(p, make([]int, len(p.Needs)))
	}
}

func BenchmarkUserNamespace(b *testing.B) {
	needRoot(b)
	for b.Loop() {
		f, err := namespace.User(mapTo(100000), mapTo(200000))
		must(b, err)
		f.Close()
	}
}

// BenchmarkExec is a whole life of one more process in a running container.
func BenchmarkExec(b *testing.B) {
	needRoot(b)
	facts := DetectFacts()
	for name, change := range map[string]func(*Request){"default": func(*Request) {}, "users": inUsers} {
		b.Run(name, func(b *testing.B) {
			in := sleeper(b, change)
			for b.Loop() {
				r := execIn(in, "/bin/true")
				r.Facts = &facts
				p, err := Exec(r)
				if err != nil {
					b.Fatal(err)
				}
				p.PidFD.Close()
				if s, err := p.Wait(); err != nil || s != 0 {
					b.Fatal(s, err)
				}
			}
		})
	}
}
