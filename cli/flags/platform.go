package flags

import (
	"fmt"
	"runtime"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Platform reads os[/arch[/variant]] or an architecture alone, with the usual
// other names of architectures (x86_64, aarch64 ...). An empty text is none.
func Platform(text string) (*ocispec.Platform, error) {
	if text == "" {
		return nil, nil
	}
	parts := strings.Split(strings.ToLower(strings.TrimSpace(text)), "/")
	for _, p := range parts {
		if p == "" || strings.ContainsFunc(p, func(r rune) bool {
			return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || strings.ContainsRune("_.-()", r))
		}) {
			return nil, fmt.Errorf("invalid platform %q: the format is os[/arch[/variant]]", text)
		}
	}
	p := &ocispec.Platform{}
	switch len(parts) {
	case 1:
		if system(parts[0]) {
			p.OS, p.Architecture = parts[0], runtime.GOARCH
			return p, nil
		}
		p.OS = runtime.GOOS
		p.Architecture, p.Variant = architecture(parts[0], "")
		if !known(p.Architecture) {
			return nil, fmt.Errorf("invalid platform %q: unknown operating system or architecture", text)
		}
	case 2:
		p.OS = parts[0]
		p.Architecture, p.Variant = architecture(parts[1], "")
	case 3:
		p.OS = parts[0]
		p.Architecture, p.Variant = architecture(parts[1], parts[2])
		if p.Architecture == "arm64" && p.Variant == "" {
			p.Variant = "v8" // whoever says so much gets it said
		}
	default:
		return nil, fmt.Errorf("invalid platform %q: the format is os[/arch[/variant]]", text)
	}
	if len(parts) < 3 && p.Architecture == "arm" && p.Variant == "v7" {
		p.Variant = "" // what the engine's host prefers
	}
	return p, nil
}

func system(name string) bool {
	switch name {
	case "linux", "windows", "darwin", "freebsd", "netbsd", "openbsd", "solaris", "aix", "wasip1":
		return true
	}
	return false
}

func known(arch string) bool {
	switch arch {
	case "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64", "ppc64le", "riscv64", "s390x", "wasm":
		return true
	}
	return false
}

// architecture gives an architecture and variant Go's names, and drops the
// variants that mean the same as none.
func architecture(arch, variant string) (string, string) {
	switch arch {
	case "i386", "i486", "i586", "i686", "x86":
		return "386", ""
	case "x86_64", "x86-64", "amd64":
		if variant == "v1" {
			variant = ""
		}
		return "amd64", variant
	case "aarch64", "arm64":
		if variant == "8" || variant == "v8" {
			variant = ""
		}
		return "arm64", variant
	case "armhf":
		return "arm", "v7"
	case "armel":
		return "arm", "v6"
	case "arm":
		switch variant {
		case "", "7":
			variant = "v7"
		case "5", "6", "8":
			variant = "v" + variant
		}
	}
	return arch, variant
}
