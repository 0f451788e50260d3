//go:build race

package model

// steps are what TestModel makes: the race detector makes a step six times as dear.
const steps = 10_000
