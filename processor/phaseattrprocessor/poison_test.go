// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// liveRun is a training process in a synctest bubble, beside the telemetry about it. Each second it
// is in forward, then in backward; what it writes arrives once a second, after the points that it
// answers for.
type liveRun struct {
	*pipelines
	main *worker
	// ahead is how far its clock and that of its telemetry are ahead of the collector's.
	ahead float64
	// asked is the number of points sent so far, each by several rules.
	asked int
}

// newLiveRun starts a run and lets it train for a while.
func newLiveRun(t *testing.T, ahead float64, edits ...func(*Config)) *liveRun {
	time.Sleep(time.Hour)
	r := &liveRun{pipelines: startPipelines(t, append([]func(*Config){withGrace}, edits...)...), ahead: ahead}
	r.main = (&program{session: "run"}).worker(1)
	r.write(t, r.main.event("start", r.now()), r.main.enter(r.now(), "train"))
	r.train(t, 10)
	synctest.Wait()
	r.metricsSink.Reset()
	r.asked = 0
	return r
}

// now is the time by the run's clock, as the tests' events have it.
func (r *liveRun) now() float64 { return r.since(0) }

func (r *liveRun) since(seconds float64) float64 {
	return float64(time.Now().UnixNano()-moment(0))/1e9 + r.ahead + seconds
}

func (r *liveRun) place() object { return with(object{"world_size": int64(1)}, on("node", 100, 0)) }

func (r *liveRun) write(t *testing.T, events ...object) {
	t.Helper()
	for i := range events {
		events[i] = with(events[i], r.place())
	}
	r.pass(t, events...)
}

// train lets the run train for some seconds, with two points in each.
func (r *liveRun) train(t *testing.T, seconds int) {
	t.Helper()
	for range seconds {
		begin := r.now()
		time.Sleep(300 * time.Millisecond)
		r.ask(t, "train / step / forward")
		time.Sleep(400 * time.Millisecond)
		r.ask(t, "train / step / backward")
		time.Sleep(300 * time.Millisecond)
		r.write(t, r.main.enter(begin, "step"),
			r.main.enter(begin+0.1, "forward"), r.main.exit(begin+0.5),
			r.main.enter(begin+0.5, "backward"), r.main.exit(begin+0.9),
			r.main.exit(begin+0.95), r.main.event("sample", begin+0.97))
	}
}

// ask sends a point of the run by its name, its session, its process and its device.
func (r *liveRun) ask(t *testing.T, want string) {
	t.Helper()
	r.asked++
	at := r.now()
	named, session, process, device := r.main.gauge(at), r.main.gauge(at), (&program{session: ""}).gauge(at), gpu("node", "0", at)
	resource := process.ResourceMetrics().At(0).Resource().Attributes()
	require.NoError(t, resource.FromRaw(object{"host.name": "node", "process.pid": int64(100)}))
	md := pmetric.NewMetrics()
	for rule, in := range map[string]pmetric.Metrics{"name": named, "session": session, "process": process, "device": device} {
		dp := in.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0).Gauge().DataPoints().At(0)
		dp.Attributes().PutStr("want", want)
		dp.Attributes().PutStr("rule", rule)
		if rule == "session" {
			dp.Attributes().Remove("rank")
		}
		in.ResourceMetrics().MoveAndAppendTo(md.ResourceMetrics())
	}
	require.NoError(t, r.metrics.ConsumeMetrics(t.Context(), md))
}

// tally counts the answers that a run's points got.
type tally struct{ right, unsure, wrong int }

// judge waits for the answers and returns those of each rule.
func (r *liveRun) judge(t *testing.T) map[string]tally {
	t.Helper()
	time.Sleep(10 * time.Second)
	all := map[string]tally{}
	for _, md := range r.metricsSink.AllMetrics() {
		for _, got := range attributesOfMetrics(md) {
			rule := got["rule"].(string)
			v := all[rule]
			switch {
			case got["phase_resolution"] != "unique":
				v.unsure++
			case got["phase_path"] == got["want"]:
				v.right++
			default:
				v.wrong++
			}
			all[rule] = v
		}
	}
	for rule, v := range all {
		assert.Equal(t, r.asked, v.right+v.unsure+v.wrong, rule)
	}
	return all
}

// TestDoubtEndsWithWhatShowsTheClock has a worker on a host whose clock is a second ahead. Its only
// exit was on its way for a shorter time than what was sent before, or is sent after.
func TestDoubtEndsWithWhatShowsTheClock(t *testing.T) {
	for name, tc := range map[string]struct{ enter, exit, sample float64 }{
		"shown by what came before":                   {enter: 0.9, exit: 1.05, sample: -1},
		"shown by another process of the host, later": {enter: 0.1, exit: 1.5, sample: 0.9},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := startPipelines(t)
				time.Sleep(100 * time.Second)
				run := &program{session: "run"}
				trainer, worker := run.worker(1), run.worker(1)
				of := func(pid int64, event object) object { return with(event, on("node", pid, 0)) }
				p.passLogs(t, records(t, of(100, run.event("start", sinceStart(50))), of(100, trainer.enter(sinceStart(99), "train"))))
				p.passLogs(t, records(t, of(101, worker.enter(sinceStart(100+tc.enter), "decode")), of(101, worker.exit(sinceStart(100+tc.exit)))))
				p.passLogs(t, records(t, of(100, run.event("sample", sinceStart(100+tc.sample)))))
				for after, want := range map[float64]any{-0.01: "decode", 0.01: nil} {
					md := (&program{session: ""}).gauge(sinceStart(100 + tc.exit + after))
					require.NoError(t, md.ResourceMetrics().At(0).Resource().Attributes().FromRaw(object{"host.name": "node", "process.pid": int64(101)}))
					assert.Equal(t, want, attributesOfMetrics(p.passMetrics(t, md))[0]["phase_path"], "%g s after the exit", after)
				}
				assert.Zero(t, valueOf(t, p.telemetry, "otelcol_processor_phase_attr_doubted_events", "outcome", "unconfirmed"))
				p.shutdown(t)
			})
		})
	}
}

// poisonedPoints is how many points a run gets while it is poisoned.
const poisonedPoints = 20

// allRight returns the answers of a run that nothing has harmed.
func allRight() map[string]tally {
	all := tally{right: poisonedPoints}
	return map[string]tally{"name": all, "session": all, "process": all, "device": all}
}

// poisonTimes are the times of poisons, from the moment at which they arrive.
var poisonTimes = map[string]func(now float64) int64{
	"now":            moment,
	"seconds ahead":  func(now float64) int64 { return moment(now + 3) },
	"nine minutes":   func(now float64) int64 { return moment(now + 540) },
	"eleven minutes": func(now float64) int64 { return moment(now + 660) },
	"hours ahead":    func(now float64) int64 { return moment(now + 3*3600) },
	"the last":       func(float64) int64 { return math.MaxInt64 },
	"hours ago":      func(now float64) int64 { return moment(now - 3*3600) },
	"zero":           func(float64) int64 { return 0 },
	"negative":       func(float64) int64 { return -5 },
}

// poisonSenders are who seems to have sent a poison.
var poisonSenders = map[string]object{
	"the process":             with(object{"session_id": "run"}, on("node", 100, 0)),
	"no process":              {"session_id": "run"},
	"another of its rank":     with(object{"session_id": "run"}, on("node", 101, 0)),
	"another, same process":   {"session_id": "other", "host": "node", "pid": int64(100)},
	"another, on the device":  with(object{"session_id": "other"}, on("node", 200, 0)),
	"another rank, on device": with(object{"session_id": "other", "rank": int64(3)}, on("node", 200, 0)),
}

// poison is a single record.
func poison(kind string, at int64, sender object) object {
	e := with(object{"rank": int64(0), "event_type": kind, "timestamp_ns": at, "world_size": int64(1 << 40)}, sender)
	if kind == "sample" {
		e["metadata"] = object{"sampling_interval_ms": 0.1}
	}
	if action, ok := map[string]string{"phase_enter": "enter", "phase_exit": "exit"}[kind]; ok {
		e["metadata"] = object{"phase_scope": object{
			"action": action, "name": "poison", "path": []any{"poison"}, "scope_id": "poison", "parent_scope_id": nil,
			"thread_id": int64(2), "thread_name": "poison", "sequence": int64(math.MaxInt64 - 1),
		}}
	}
	return e
}

// TestNoSingleRecordChangesALiveAnswer sends every kind of record with every wrong time as if by
// everybody to a run that is alive. One that is dated now is as plausible as any: it may share a
// place, or show a thread or a process, so that the answer is not sure any more; none makes it wrong.
func TestNoSingleRecordChangesALiveAnswer(t *testing.T) {
	changed, wrong, records := 0, 0, 0
	for _, kind := range []string{"start", "stop", "sample", "message", "phase_enter", "phase_exit"} {
		for _, when := range slices.Sorted(maps.Keys(poisonTimes)) {
			for _, who := range slices.Sorted(maps.Keys(poisonSenders)) {
				t.Run(fmt.Sprintf("%s, %s, by %s", kind, when, who), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						r := newLiveRun(t, 0)
						r.pass(t, poison(kind, poisonTimes[when](r.now()), poisonSenders[who]))
						r.train(t, poisonedPoints/2)
						got := r.judge(t)
						r.shutdown(t)
						records++
						if !maps.Equal(got, allRight()) {
							changed++
						}
						for _, answers := range got {
							wrong += answers.wrong
						}
						if when != "now" {
							assert.Equal(t, allRight(), got)
							return
						}
						for rule, answers := range got {
							assert.Zero(t, answers.wrong, rule)
						}
						if who != "the process" || kind == "start" || kind == "sample" || kind == "message" || kind == "phase_exit" {
							assert.GreaterOrEqual(t, got["name"].right, poisonedPoints-2, "those before the next event")
						}
					})
				})
			}
		}
	}
	t.Logf("%d of %d records changed an answer, %d answers were wrong", changed, records, wrong)
}

// pass sends events as they are.
func (r *liveRun) pass(t *testing.T, events ...object) {
	t.Helper()
	require.NoError(t, r.logs.ConsumeLogs(t.Context(), records(t, events...)))
}

// poisoned returns the answers of ten seconds of a run that gets some records before.
func poisoned(t *testing.T, edit func(*Config), poisons func(now float64) []object) (got map[string]tally) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newLiveRun(t, 0, edit)
		r.pass(t, poisons(r.now())...)
		r.train(t, 10)
		got = r.judge(t)
		r.shutdown(t)
	})
	return got
}

func TestTwoBoundariesThatAreFarAheadChangeNothing(t *testing.T) {
	for name, edit := range map[string]func(*Config){
		"by default":          func(*Config) {},
		"with a large bound":  func(cfg *Config) { cfg.MaxFuture = 24 * time.Hour },
		"in the strict mode":  func(cfg *Config) { cfg.Repair = false },
		"with a small window": func(cfg *Config) { cfg.Window = time.Minute },
	} {
		t.Run(name, func(t *testing.T) {
			got := poisoned(t, edit, func(now float64) []object {
				process := poisonSenders["the process"]
				return []object{poison("phase_enter", moment(now+540), process), poison("phase_exit", moment(now+1080), process)}
			})
			t.Logf("answers by rule: %+v", got)
			assert.Equal(t, allRight(), got)
		})
	}
}

func TestOneEventAheadLeavesTheGracePeriodOn(t *testing.T) {
	got := poisoned(t, func(*Config) {}, func(now float64) []object {
		return []object{poison("sample", moment(now+540), poisonSenders["the process"])}
	})
	t.Logf("answers by rule: %+v", got)
	assert.Equal(t, allRight(), got)
}

// TestSequenceOfOneRecordHidesNoGap sends a boundary with an enormous number, at a plausible
// time, and then loses an exit.
func TestSequenceOfOneRecordHidesNoGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newLiveRun(t, 0)
		r.pass(t, poison("phase_exit", moment(r.now()), poisonSenders["the process"]))
		r.train(t, 1)
		begin := r.now()
		time.Sleep(time.Second)
		lost := r.main.enter(begin+0.1, "forward")
		r.main.exit(begin + 0.2)
		require.NotEmpty(t, lost)
		r.write(t, r.main.enter(begin+0.5, "backward"), r.main.exit(begin+0.9), r.main.event("sample", begin+0.95))
		got := attributesOfMetrics(r.passMetrics(t, r.main.gauge(begin+0.3)))[0]
		assert.NotEqual(t, "unique", got["phase_resolution"], "two boundaries are missing")
		r.shutdown(t)
	})
}

// TestHostWhoseClockIsAheadLosesNothing has a run, and the telemetry about it, by a clock that is
// ahead of the collector's.
func TestHostWhoseClockIsAheadLosesNothing(t *testing.T) {
	for _, ahead := range []float64{0.5, 2, 30, 300, 599} {
		t.Run(fmt.Sprint(ahead, " s"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newLiveRun(t, ahead)
				r.train(t, 10)
				assert.Equal(t, allRight(), r.judge(t))

				// It says so only once more, and stops with a single event.
				time.Sleep(5 * time.Minute)
				r.write(t, r.main.event("stop", r.now()))
				time.Sleep(10 * time.Second)
				r.metricsSink.Reset()
				r.ask(t, "")
				time.Sleep(10 * time.Second)
				assert.Equal(t, int64(1), valueOf(t, r.telemetry, "otelcol_processor_phase_attr_transitions", "transition", "stopped"))
				assert.Zero(t, valueOf(t, r.telemetry, "otelcol_processor_phase_attr_doubted_events", "outcome", "unconfirmed"))
				r.shutdown(t)
			})
		})
	}
}

// TestRunThatIsStoppedByAnotherGoesOn sends a plausible stop, and a restart in its name.
func TestRunThatIsStoppedByAnotherGoesOn(t *testing.T) {
	for name, who := range map[string]object{
		"stopped":    poisonSenders["the process"],
		"taken over": poisonSenders["another, on the device"],
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newLiveRun(t, 0)
				r.pass(t, poison("stop", moment(r.now()), who))
				r.train(t, 10)
				got := r.judge(t)
				t.Logf("answers by rule: %+v", got)
				assert.Equal(t, tally{right: 18, unsure: 2}, got["name"], "until its next event")
				assert.Equal(t, int64(1), valueOf(t, r.telemetry, "otelcol_processor_phase_attr_transitions", "transition", "resumed"))
				r.shutdown(t)
			})
		})
	}
}
