// SPDX-License-Identifier: MIT

// The questions of bench/fork.c, spawn.c, yield.c and sleepers.c put to Go: one JSON line a case.
package main

import (
	"fmt"
	"os"
	"runtime"
	"sort"
	"strconv"
	"sync"
	"time"
)

const (
	size   = 30
	tasks  = 1000000
	turns  = 500000
	asleep = 100000
)

func forks(n int) float64 {
	if n < 2 {
		return 0
	}
	return 1 + forks(n-1) + forks(n-2)
}

func fib(n int) int {
	if n < 2 {
		return n
	}
	var a int
	var w sync.WaitGroup
	w.Add(1)
	go func() {
		a = fib(n - 1)
		w.Done()
	}()
	b := fib(n - 2)
	w.Wait()
	return a + b
}

func since(from time.Time, items float64) float64 {
	return float64(time.Since(from).Nanoseconds()) / items
}

func fork() float64 {
	const smaller = size - 6 // it takes a microsecond each
	from := time.Now()
	fib(smaller)
	return since(from, forks(smaller))
}

func spawn() float64 {
	from := time.Now()
	var w sync.WaitGroup
	w.Add(tasks)
	for i := 0; i < tasks; i++ {
		go w.Done()
	}
	w.Wait()
	return since(from, tasks)
}

func yield() float64 {
	give := func() {
		for i := 0; i < turns; i++ {
			runtime.Gosched()
		}
	}
	var w sync.WaitGroup
	w.Add(1)
	go func() {
		give()
		w.Done()
	}()
	from := time.Now()
	give()
	ns := since(from, turns)
	w.Wait()
	return ns
}

func sleep() float64 {
	from := time.Now()
	var w sync.WaitGroup
	w.Add(asleep)
	for i := 0; i < asleep; i++ {
		go func() {
			time.Sleep(time.Second)
			w.Done()
		}()
	}
	w.Wait()
	return since(from, 1e9)
}

type question struct {
	bench, metric, unit string
	workers             int
	measure             func() float64
}

func main() {
	questions := []question{
		{"fork", "fork", "ns", 1, fork},
		{"fork", "fork", "ns", 2, fork},
		{"spawn", "scope", "ns", 1, spawn},
		{"spawn", "scope", "ns", 2, spawn},
		{"yield", "same", "ns", 1, yield},
		{"sleepers", "wall", "s", 1, sleep},
	}
	rounds := 5
	if len(os.Args) > 1 {
		n, err := strconv.Atoi(os.Args[1])
		if err != nil || n < 1 {
			fmt.Fprintln(os.Stderr, "usage: peers [ROUNDS [BENCH]]")
			os.Exit(2)
		}
		rounds = n
	}
	for _, q := range questions {
		if len(os.Args) > 2 && os.Args[2] != q.bench {
			continue
		}
		runtime.GOMAXPROCS(q.workers)
		q.measure()
		values := make([]float64, rounds)
		for i := range values {
			values[i] = q.measure()
		}
		sort.Float64s(values)
		fmt.Printf("{\"bench\":%q,\"metric\":%q,\"impl\":\"go\",\"workers\":%d,\"value\":%.3f,"+
			"\"unit\":%q,\"best\":%.3f,\"worst\":%.3f,\"rounds\":%d}\n",
			q.bench, q.metric, q.workers, values[rounds/2], q.unit, values[0], values[rounds-1], rounds)
	}
}
