// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/storage/filestorage"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension/extensiontest"
	"go.opentelemetry.io/collector/extension/xextension/storage"
)

const (
	// roundsByDefault is for a short test; ROUNDS says how many there are.
	roundsByDefault = 8
	// requestsPerRound is how many requests each program sends between two damages.
	requestsPerRound = 60
	pageSize         = 4096
	// maxAttempts is how often a file has to be opened in vain before another one is begun.
	maxAttempts = 5
	// openingTakes is how long a collector may take to open what is stored, at the most.
	openingTakes = 10 * time.Second
)

// damage is what can happen to what is stored.
type damage struct {
	name string
	// do changes the content of a file, or of some of the records in it.
	do func(random *rand.Rand, content []byte) []byte
}

// fileDamages are what can happen to the file.
func fileDamages() []damage {
	return []damage{
		{"cut off anywhere", func(random *rand.Rand, content []byte) []byte { return content[:random.IntN(len(content))] }},
		{"a bit in 1000 bytes", func(random *rand.Rand, content []byte) []byte {
			flip(random, content, 0, len(content), len(content)/1000)
			return content
		}},
		{"a page of garbage", func(random *rand.Rand, content []byte) []byte {
			page := somePage(random, content)
			for i := range page {
				page[i] = byte(random.Uint32())
			}
			return content
		}},
		{"a few bits", func(random *rand.Rand, content []byte) []byte {
			flip(random, content, 0, len(content), 20)
			return content
		}},
		{"a bit in the header of a page", func(random *rand.Rand, content []byte) []byte {
			flip(random, somePage(random, content), 0, 16, 1)
			return content
		}},
		{"cut off at a page", func(random *rand.Rand, content []byte) []byte {
			return content[:random.IntN(len(content)/pageSize)*pageSize]
		}},
		{"a page of zeros", func(random *rand.Rand, content []byte) []byte {
			clear(somePage(random, content))
			return content
		}},
		{"bits in the first two pages", func(random *rand.Rand, content []byte) []byte {
			flip(random, content, 0, 80, 2)
			flip(random, content, pageSize, 80, 1)
			return content
		}},
		{"a page in the place of another", func(random *rand.Rand, content []byte) []byte {
			copy(somePage(random, content), somePage(random, content))
			return content
		}},
		{"more at its end", func(random *rand.Rand, content []byte) []byte {
			for range random.IntN(3 * pageSize) {
				content = append(content, byte(random.Uint32()))
			}
			return content
		}},
		{"empty", func(*rand.Rand, []byte) []byte { return nil }},
		{"another file", func(random *rand.Rand, content []byte) []byte {
			for i := range content {
				content[i] = byte(random.Uint32())
			}
			return content
		}},
	}
}

// recordDamages are what can happen to records in a file that is sound.
func recordDamages() []damage {
	return []damage{
		{"a bit of some records", func(random *rand.Rand, record []byte) []byte {
			flip(random, record, 0, len(record), 1)
			return record
		}},
		{"some records cut off", func(random *rand.Rand, record []byte) []byte { return record[:random.IntN(len(record))] }},
		{"some records of another format", func(_ *rand.Rand, record []byte) []byte {
			record[0]++
			return record
		}},
		{"some records longer", func(random *rand.Rand, record []byte) []byte {
			return append(record, record[:random.IntN(len(record))]...)
		}},
		{"some records gone", func(*rand.Rand, []byte) []byte { return nil }},
	}
}

func flip(random *rand.Rand, content []byte, from, length, bits int) {
	for range bits {
		content[from+random.IntN(length)] ^= 1 << random.IntN(8)
	}
}

func somePage(random *rand.Rand, content []byte) []byte {
	from := random.IntN(len(content)/pageSize) * pageSize
	return content[from : from+pageSize]
}

// TestDamagedStorage damages what is stored again and again while no collector runs.
// Programs go on through all of it, each with scopes that have paths of their own. Each
// collector must start, take what it is sent, and pass on all of it. It must not answer
// with a path that its session did not send before; and a session that was not damaged
// must be answered right.
//
// file_storage reads a file that it opens in a goroutine of its own, in which a panic
// ends the process, whatever its caller does; a page that claims to be very long keeps it
// busy until the memory runs out. A collector that ends so, or is ended since it does not
// come up, is started again, and must come up after as many attempts as a file has to be
// opened; so must the storage, if its file is no reason to die but cannot be opened.
// Nothing saves it if the file that counts the attempts is the one that is damaged: an
// operator takes it away.
func TestDamagedStorage(t *testing.T) {
	for _, way := range []struct {
		name, recreate string
		damages        []damage
		do             func(t *testing.T, directory string, damage func(content []byte) []byte)
		// mortal is true if it may be that neither a collector nor the storage comes up by
		// itself.
		mortal bool
	}{
		{"the index", "false", fileDamages(), damageIndex, false},
		{"the index, with recreate", "true", fileDamages(), damageIndex, false},
		{"records of the index", "false", recordDamages(), damageRecords, false},
		{"the count of attempts", "true", fileDamages(), damageCount, true},
	} {
		t.Run(way.name, func(t *testing.T) {
			random, seed := seeded(t)
			directory := t.TempDir()
			programs := damageEmitters(seed)
			table := outcomes{}
			attempts := 0 // to open the storage, in a row
			const whole, after, anew = "none", "none: the round after", "none: begun anew"
			for kind, damaged := whole, 0; ; {
				opened := table.of(kind).round(t, directory, way.recreate, programs, way.mortal)
				if !opened {
					require.NotContains(t, []string{whole, anew}, kind, "a sound storage is opened")
					kind = after
					attempts++
					if attempts > maxAttempts {
						require.True(t, way.mortal, "the storage is not begun anew")
						table.of(kind).operator++
						require.NoError(t, os.Remove(countFile(directory)))
						kind = anew
					}
					continue
				}
				attempts = 0
				if damaged == fromEnvironment(t, "ROUNDS", roundsByDefault) {
					break
				}
				next := way.damages[damaged%len(way.damages)]
				damaged++
				kind = next.name
				way.do(t, directory, func(content []byte) []byte { return next.do(random, content) })
			}
			all := table.print(t)
			assert.Zero(t, all.missing, "records that did not come out once")
			assert.Zero(t, all.strange, "answers with a phase that was not sent before")
			assert.Zero(t, all.wrong, "wrong answers in sessions that were not damaged")
			if !way.mortal {
				assert.NotZero(t, all.deaths+all.hung+all.failures["open"]+all.failures["read"], "damages that showed")
			}
			assert.NotZero(t, all.answered, "records with a phase")
			assert.NotZero(t, all.whole, "records of sessions that were not damaged")
		})
	}
}

// outcome is what became of the rounds after one kind of damage.
type outcome struct {
	rounds int
	// deaths is how many collectors file_storage ended as they started, hung how many it
	// did not let start, operator how often an operator had to take something away.
	deaths, hung, operator int
	// failures counts them by operation.
	failures map[string]int
	// records is how many were sent, missing how many of them did not come out, answered
	// how many have a phase.
	records, missing, answered int
	// strange counts answers with a path that the session had not sent.
	strange int
	// whole counts records of sessions that were not damaged, wrong those that have not
	// the right answer.
	whole, wrong int
}

// round runs a collector on what is stored, and ends it. It returns whether the storage
// could be opened.
func (o *outcome) round(t *testing.T, directory, recreate string, programs []*program, mortal bool) (opened bool) {
	t.Helper()
	o.rounds++
	c := o.start(t, directory, recreate, mortal)
	for _, p := range programs {
		p.send(t, c)
	}
	failed := c.counts(t, failures, "operation")
	for operation, times := range failed {
		o.failures[operation] += times
	}
	if o.rounds%2 == 0 {
		c.kill(t)
	} else {
		c.stopTroubled(t)
	}
	o.check(t, c, programs)
	return failed["open"] == 0
}

// start starts collectors until one comes up.
func (o *outcome) start(t *testing.T, directory, recreate string, mortal bool) *collector {
	t.Helper()
	env := []string{"STORAGE=" + directory, "RECREATE=" + recreate}
	configuration := []string{"soak.yaml", "storage.yaml", "damage.yaml"}
	var printed string
	for range maxAttempts + 1 {
		c := launch(t, env, configuration...)
		up := c.await(openingTakes, func() bool { return c.ready(t, 1) })
		if up && c.running() {
			return c
		}
		if up {
			o.deaths++
		} else {
			o.hung++
			c.quit()
		}
		printed = string(c.printed(t))
		require.Contains(t, printed, "bbolt.(*DB).freepages.func", "what the collector was at in the end")
		c.killed = true
	}
	require.True(t, mortal, "no collector comes up; the last one printed:\n%s", printed)
	o.operator++
	require.NoError(t, os.Remove(countFile(directory)))
	return start(t, env, configuration...)
}

// damageEmitters are programs with short sessions, longer ones, and one that goes on
// through many damages.
func damageEmitters(seed int) []*program {
	programs := make([]*program, 3)
	for i := range programs {
		e := newEmitter(i)
		e.random = rand.New(rand.NewPCG(uint64(seed), uint64(i)+1))
		e.lost, e.early, e.spans, e.unlike = 0, 0, true, true
		e.steps = []int{4, stepsPerSession, 4000}[i]
		e.perRequest = []int{maxRecordsPerRequest, maxRecordsPerRequest, 50}[i]
		programs[i] = &program{emitter: e, entered: map[string]int64{}}
	}
	return programs
}

// countFile is where the attempts to open the index are counted.
func countFile(directory string) string {
	return filepath.Join(directory, "processor_phase_attr__generations")
}

// indexFile is where the index is: the newest generation.
func indexFile(t *testing.T, directory string) (file, client string) {
	t.Helper()
	const prefix = "processor_phase_attr__"
	files, err := filepath.Glob(filepath.Join(directory, prefix+"generation_*[0-9]"))
	require.NoError(t, err)
	require.NotEmpty(t, files, "generations")
	file = slices.MaxFunc(files, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
	return file, strings.TrimPrefix(filepath.Base(file), prefix)
}

func damageIndex(t *testing.T, directory string, damage func(content []byte) []byte) {
	t.Helper()
	file, _ := indexFile(t, directory)
	damageFile(t, file, damage)
}

func damageCount(t *testing.T, directory string, damage func(content []byte) []byte) {
	t.Helper()
	damageFile(t, countFile(directory), damage)
}

func damageFile(t *testing.T, file string, damage func(content []byte) []byte) {
	t.Helper()
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, damage(content), 0o600))
}

// damageRecords damages some of the records, the first one among them.
func damageRecords(t *testing.T, directory string, damage func(content []byte) []byte) {
	t.Helper()
	const everyNth = 10
	factory := filestorage.NewFactory()
	config := factory.CreateDefaultConfig().(*filestorage.Config)
	config.Directory = directory
	ext, err := factory.Create(t.Context(), extensiontest.NewNopSettings(factory.Type()), config)
	require.NoError(t, err)
	_, name := indexFile(t, directory)
	client, err := ext.(storage.Extension).GetClient(t.Context(), component.KindProcessor, component.MustNewID("phase_attr"), name)
	require.NoError(t, err)
	records := 0
	require.NoError(t, client.(storage.Walker).Walk(t.Context(), func(key string, value []byte) ([]*storage.Operation, error) {
		records++
		if (records-1)%everyNth != 0 || len(value) == 0 {
			return nil, nil
		}
		if damaged := damage(slices.Clone(value)); damaged != nil {
			return []*storage.Operation{storage.SetOperation(key, damaged)}, nil
		}
		return []*storage.Operation{storage.DeleteOperation(key)}, nil
	}))
	require.NotZero(t, records)
	require.NoError(t, client.Close(t.Context()))
}

// program is an emitter of which a part is sent at a time.
type program struct {
	*emitter
	session *session
	next    []*request
	// entered says, for each path, with which request its boundaries came first.
	entered map[string]int64
	// sent is how many requests have been sent, since how many before this round.
	sent, since int
}

// send sends the next requests. A session that began before was damaged.
func (p *program) send(t *testing.T, c *collector) {
	t.Helper()
	p.since = p.sent
	if p.session != nil {
		p.session.cut = true
	}
	for range requestsPerRound {
		if len(p.next) == 0 {
			p.session, p.next = p.run()
		}
		r := p.next[0]
		p.next = p.next[1:]
		for _, it := range r.items {
			if it.phase == nil {
				continue
			}
			for depth := range it.phase.path { // a boundary shows that the phases around it were entered too
				path := strings.Join(it.phase.path[:depth+1], " / ")
				if _, known := p.entered[path]; !known {
					p.entered[path] = r.number
				}
			}
		}
		c.send(t, r.batch())
		p.sent++
	}
}

// paths are those that an answer names.
func (a answer) paths(t *testing.T) []string {
	t.Helper()
	var paths []string
	if list := a["phase_paths"]; list != "" {
		require.NoError(t, json.Unmarshal([]byte(list), &paths))
	}
	if path, ok := a["phase_path"]; ok {
		paths = append(paths, path)
	}
	return paths
}

// check looks at all that came out of a collector.
func (o *outcome) check(t *testing.T, c *collector, programs []*program) {
	t.Helper()
	came := transcript{}
	came.read(t, c)
	for _, p := range programs {
		for _, r := range p.requests[p.since:p.sent] {
			for _, it := range r.items {
				o.records++
				given := came[recordID{int64(p.id), r.number, it.id}]
				if len(given) != 1 {
					o.missing++
					continue
				}
				paths := given[0].paths(t)
				if len(paths) > 0 {
					o.answered++
				}
				for _, path := range paths {
					if entered, ok := p.entered[path]; !ok || entered > r.number || !strings.Contains(path, " of "+r.of.id+" ") {
						o.strange++
						t.Errorf("%s, emitter %d, request %d (%s), record %d: it had not sent %q", r.of.id, p.id, r.number, r.signal, it.id, path)
					}
				}
				if r.of.cut || !r.settled || it.right == nil {
					continue
				}
				o.whole++
				if !maps.Equal(given[0], it.right) {
					o.wrong++
					t.Errorf("%s, emitter %d, request %d (%s), record %d: want %v, got %v", r.of.id, p.id, r.number, r.signal, it.id, it.right, given[0])
				}
			}
		}
	}
}

// outcomes are those by the kind of damage.
type outcomes map[string]*outcome

func (o outcomes) of(kind string) *outcome {
	if o[kind] == nil {
		o[kind] = &outcome{failures: map[string]int{}}
	}
	return o[kind]
}

// print prints the table. It returns the sum of its rows.
func (o outcomes) print(t *testing.T) *outcome {
	t.Helper()
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "damage\trounds\tdeaths in file_storage\thung in it\ttaken away by hand\tnot opened\tunreadable\tnot written\t"+
		"records\tmissing\twith a phase\tof these not sent before\tof whole sessions\tof these wrong\t")
	row := func(kind string, o *outcome) {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t\n", kind, o.rounds, o.deaths, o.hung, o.operator,
			o.failures["open"], o.failures["read"], o.failures["write"],
			o.records, o.missing, o.answered, o.strange, o.whole, o.wrong)
	}
	all := &outcome{failures: map[string]int{}}
	for _, kind := range slices.Sorted(maps.Keys(o)) {
		one := o[kind]
		row(kind, one)
		all.rounds += one.rounds
		all.deaths += one.deaths
		all.hung += one.hung
		all.operator += one.operator
		for operation, times := range one.failures {
			all.failures[operation] += times
		}
		all.records += one.records
		all.missing += one.missing
		all.answered += one.answered
		all.strange += one.strange
		all.whole += one.whole
		all.wrong += one.wrong
	}
	row("all", all)
	require.NoError(t, w.Flush())
	t.Logf("damaged storage:\n%s", text.String())
	return all
}
