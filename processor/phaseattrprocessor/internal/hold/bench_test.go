// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package hold

import (
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// counter is a Progress and a Destination that count, and forward nothing.
type counter struct {
	reached chan int64 // the newest moment of all ranks
	sent    chan int
}

func (c *counter) Reached(w Wait) bool {
	reached := <-c.reached
	c.reached <- reached
	return w.Until <= reached
}

func (*counter) At(string) []boundary.RankKey { return nil }

func (*counter) Changes() uint64 { return 0 }

func (*counter) Released(Outcome, time.Duration) {}

func (*counter) Join(_ context.Context, payloads []int) (batch, items int) { return 0, len(payloads) }

func (*counter) Send(context.Context, int) error { return nil }

func (c *counter) Sent(_ context.Context, items int) { c.sent <- items }

func (*counter) Retry(context.Context, int, error) {}

func (*counter) Lost(context.Context, int, error) {}

// BenchmarkHold has a part wait and go on while others wait, of as many ranks or of one.
func BenchmarkHold(b *testing.B) {
	for _, ranks := range []string{"each of its own rank", "all of one rank"} {
		for _, waiting := range []int{100, 1000, 10_000} {
			b.Run(fmt.Sprintf("%d waiting, %s", waiting, ranks), func(b *testing.B) {
				c := &counter{reached: make(chan int64, 1), sent: make(chan int, 1)}
				c.reached <- 0
				buffer := New(Options{MaxBytes: math.MaxInt64 / 4, MaxParts: math.MaxInt64 / 4}, c)
				p := NewPipeline(buffer, Destination[int](c))
				deadline := time.Now().Add(time.Hour)
				key := func(i int) Key {
					if ranks == "all of one rank" {
						return rankKey(0)
					}
					return rankKey(i % (waiting + 1))
				}
				next := 0
				hold := func() {
					r, err := p.Reserve(b.Context(), []Part{{Waits: []Wait{{Key: key(next), Until: int64(next)}}, Bytes: 1, Deadline: deadline}})
					if err != nil {
						b.Fatal(err)
					}
					p.Commit(b.Context(), r, []int{next})
					next++
				}
				for range waiting + 1 {
					hold()
				}
				<-c.sent // the first one
				b.ReportAllocs()
				for first := 1; b.Loop(); first++ {
					hold()
					<-c.reached
					c.reached <- int64(first)
					buffer.Advance([]boundary.RankKey{key(first).Rank}, nil)
					<-c.sent
				}
				b.StopTimer()
				go func() { // the rest
					for range c.sent {
					}
				}()
				if err := p.Close(b.Context()); err != nil {
					b.Fatal(err)
				}
				close(c.sent)
			})
		}
	}
}

// BenchmarkCancel gives back what was reserved behind parts of the same rank.
func BenchmarkCancel(b *testing.B) {
	for _, waiting := range []int{100, 1000, 10_000} {
		b.Run(fmt.Sprintf("%d waiting", waiting), func(b *testing.B) {
			c := &counter{reached: make(chan int64, 1), sent: make(chan int, waiting)}
			c.reached <- -1
			buffer := New(Options{MaxBytes: math.MaxInt64 / 4, MaxParts: math.MaxInt64 / 4}, c)
			p := NewPipeline(buffer, Destination[int](c))
			reserve := func() *Reservation {
				r, err := p.Reserve(b.Context(), []Part{{Waits: []Wait{{Key: rankKey(0)}}, Bytes: 1, Deadline: time.Now().Add(time.Hour)}})
				if err != nil {
					b.Fatal(err)
				}
				return r
			}
			for range waiting {
				p.Commit(b.Context(), reserve(), []int{0})
			}
			b.ReportAllocs()
			for b.Loop() {
				p.Cancel(reserve())
			}
			b.StopTimer()
			if err := p.Close(b.Context()); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkExpire has a part wait until its deadline, which is now, while others wait.
func BenchmarkExpire(b *testing.B) {
	for _, waiting := range []int{100, 1000, 10_000} {
		b.Run(fmt.Sprintf("%d waiting", waiting), func(b *testing.B) {
			c := &counter{reached: make(chan int64, 1), sent: make(chan int, waiting)}
			c.reached <- -1
			buffer := New(Options{MaxBytes: math.MaxInt64 / 4, MaxParts: math.MaxInt64 / 4}, c)
			p := NewPipeline(buffer, Destination[int](c))
			hold := func(rank int, deadline time.Time) {
				r, err := p.Reserve(b.Context(), []Part{{Waits: []Wait{{Key: rankKey(rank)}}, Bytes: 1, Deadline: deadline}})
				if err != nil {
					b.Fatal(err)
				}
				p.Commit(b.Context(), r, []int{0})
			}
			for i := range waiting {
				hold(i, time.Now().Add(time.Hour+time.Duration(i)))
			}
			b.ReportAllocs()
			for b.Loop() {
				hold(waiting, time.Now())
				<-c.sent
			}
			b.StopTimer()
			if err := p.Close(b.Context()); err != nil {
				b.Fatal(err)
			}
		})
	}
}
