package audio

import (
	"math"
	"math/bits"
	"math/cmplx"
)

// transform is a discrete Fourier transform of one length, a power of two, with
// its tables and buffers. It belongs to one goroutine.
type transform struct {
	n     int
	roots []complex128 // for each stage in turn, its roots of unity
	z, c  []complex128
	sums  []float64
}

func newTransform(n int) *transform {
	t := &transform{n: n, z: make([]complex128, n), c: make([]complex128, n), sums: make([]float64, n)}
	all := make([]complex128, n/2)
	for i := range all {
		all[i] = cmplx.Rect(1, -2*math.Pi*float64(i)/float64(n))
	}
	for size := 2; size <= n; size *= 2 {
		for i := range size / 2 {
			t.roots = append(t.roots, all[i*(n/size)])
		}
	}
	return t
}

// forward transforms x, of length n, in place.
func (t *transform) forward(x []complex128) {
	if t.n < 2 {
		return
	}
	shift := 64 - bits.Len(uint(t.n-1))
	for i := range x {
		if j := int(bits.Reverse64(uint64(i)) >> shift); j > i {
			x[i], x[j] = x[j], x[i]
		}
	}
	roots := t.roots
	for size := 2; size <= t.n; size *= 2 {
		half := size / 2
		for from := 0; from < t.n; from += size {
			low, high := x[from:from+half], x[from+half:from+size]
			for i, root := range roots[:half] {
				v := high[i] * root
				low[i], high[i] = low[i]+v, low[i]-v
			}
		}
		roots = roots[half:]
	}
}

// products is the circular cross-correlation of two signals no longer than n:
// element k is the sum of a[i]*b[i+k], element n-k that of a[i+k]*b[i]. It is
// valid until the next call.
func (t *transform) products(a, b []float64) []float64 {
	// Both real signals go through one transform, as real and imaginary part.
	clear(t.z)
	for i, v := range a {
		t.z[i] = complex(v, 0)
	}
	for i, v := range b {
		t.z[i] += complex(0, v)
	}
	t.forward(t.z)
	for k := range t.c {
		p, q := t.z[k], cmplx.Conj(t.z[(t.n-k)%t.n])
		t.c[k] = cmplx.Conj((p+q)/2) * ((p - q) * -0.5i)
	}
	// Backwards is forwards with the results in reverse order.
	t.forward(t.c)
	for i, v := range t.c {
		t.sums[(t.n-i)%t.n] = real(v) / float64(t.n)
	}
	return t.sums
}

// powerOfTwo is the smallest power of two not below n.
func powerOfTwo(n int) int {
	if n <= 1 {
		return 1
	}
	return 1 << bits.Len(uint(n-1))
}
