//go:build !race

package model

// steps are what TestModel makes.
const steps = 100_000
