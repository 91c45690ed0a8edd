package image

import (
	"testing"

	"github.com/containerd/platforms"
)

func BenchmarkGet(b *testing.B) {
	s := openStore(b)
	importImage(b, s, "hello")
	for b.Loop() {
		if _, err := s.Get(b.Context(), "hello", nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGetFirst(b *testing.B) {
	s := openStore(b)
	importImage(b, s, "hello")
	for b.Loop() {
		s.cache.clear()
		if _, err := s.Get(b.Context(), "hello", nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	root := b.TempDir()
	s := openAt(b, root)
	importImage(b, s, "hello")
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		s, err := Open(b.Context(), Config{Root: root})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		s.Close()
		b.StartTimer()
	}
}

func BenchmarkOpenEmpty(b *testing.B) {
	needRoot(b)
	for b.Loop() {
		b.StopTimer()
		root := b.TempDir()
		b.StartTimer()
		s, err := Open(b.Context(), Config{Root: root})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		s.Close()
		b.StartTimer()
	}
}

// BenchmarkPull pulls 8 layers of 25 MB each from a registry on loopback.
func BenchmarkPull(b *testing.B) {
	needRoot(b)
	tr := newRegistry(b)
	var layers [][]byte
	for i := range 8 {
		layers = append(layers, makeTar(b, file("data", noise(25<<20, uint64(i)))))
	}
	tr.put(b, buildImage(b, platforms.DefaultString(), layers...), "big", "1")
	b.SetBytes(8 * 25 << 20)
	for b.Loop() {
		b.StopTimer()
		s := openStore(b)
		b.StartTimer()
		if _, err := s.Pull(b.Context(), tr.ref(b, "big:1"), PullOptions{}); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		s.Close()
		b.StartTimer()
	}
}
