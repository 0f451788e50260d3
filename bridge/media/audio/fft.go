package audio

import (
	"math"
	"math/bits"
	"math/cmplx"
)

// fft transforms x in place; its length is a power of two. inverse leaves out
// the division by the length.
func fft(x []complex128, inverse bool) {
	n := len(x)
	if n < 2 {
		return
	}
	shift := 64 - bits.Len(uint(n-1))
	for i := range x {
		if j := int(bits.Reverse64(uint64(i)) >> shift); j > i {
			x[i], x[j] = x[j], x[i]
		}
	}
	turn := -2 * math.Pi
	if inverse {
		turn = -turn
	}
	roots := make([]complex128, n/2)
	for i := range roots {
		roots[i] = cmplx.Rect(1, turn*float64(i)/float64(n))
	}
	for size := 2; size <= n; size *= 2 {
		half, stride := size/2, n/size
		for from := 0; from < n; from += size {
			low, high := x[from:from+half], x[from+half:from+size]
			for i := range low {
				t := high[i] * roots[i*stride]
				low[i], high[i] = low[i]+t, low[i]-t
			}
		}
	}
}

// products is the circular cross-correlation over n points (a power of two, at
// least as long as each signal): element k is the sum of a[i]*b[i+k], element
// n-k that of a[i+k]*b[i].
func products(a, b []float64, n int) []float64 {
	// Both real signals go through one transform, as real and imaginary part.
	z := make([]complex128, n)
	for i, v := range a {
		z[i] = complex(v, 0)
	}
	for i, v := range b {
		z[i] += complex(0, v)
	}
	fft(z, false)
	c := make([]complex128, n)
	for k := range c {
		p, q := z[k], cmplx.Conj(z[(n-k)%n])
		fa, fb := (p+q)/2, (p-q)/2i
		c[k] = cmplx.Conj(fa) * fb
	}
	fft(c, true)
	sums := make([]float64, n)
	for i, v := range c {
		sums[i] = real(v) / float64(n)
	}
	return sums
}

// powerOfTwo is the smallest power of two not below n.
func powerOfTwo(n int) int {
	if n <= 1 {
		return 1
	}
	return 1 << bits.Len(uint(n-1))
}
