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
	// roundsByDefault keeps the test short; ROUNDS overrides it.
	roundsByDefault = 8
	// requestsPerRound is the number of requests of each program between two damages.
	requestsPerRound = 60
	pageSize         = 4096
	// maxAttempts is how many attempts to open a file must fail before a new one is started.
	maxAttempts = 5
	// openTimeout is how long a collector may take to open the storage.
	openTimeout = 10 * time.Second
)

// damage is a way to damage the storage.
type damage struct {
	name string
	// do changes the content of a file or of some of its records.
	do func(random *rand.Rand, content []byte) []byte
}

// fileDamages returns ways to damage a file.
func fileDamages() []damage {
	return []damage{
		{"cut off anywhere", func(random *rand.Rand, content []byte) []byte { return content[:random.IntN(len(content))] }},
		{"a bit in 1000 bytes", func(random *rand.Rand, content []byte) []byte {
			flip(random, content, 0, len(content), len(content)/1000)
			return content
		}},
		{"a page of garbage", func(random *rand.Rand, content []byte) []byte {
			page := randomPage(random, content)
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
			flip(random, randomPage(random, content), 0, 16, 1)
			return content
		}},
		{"cut off at a page", func(random *rand.Rand, content []byte) []byte {
			return content[:random.IntN(len(content)/pageSize)*pageSize]
		}},
		{"a page of zeros", func(random *rand.Rand, content []byte) []byte {
			clear(randomPage(random, content))
			return content
		}},
		{"bits in the first two pages", func(random *rand.Rand, content []byte) []byte {
			flip(random, content, 0, 80, 2)
			flip(random, content, pageSize, 80, 1)
			return content
		}},
		{"a page overwritten by another", func(random *rand.Rand, content []byte) []byte {
			copy(randomPage(random, content), randomPage(random, content))
			return content
		}},
		{"garbage appended", func(random *rand.Rand, content []byte) []byte {
			for range random.IntN(3 * pageSize) {
				content = append(content, byte(random.Uint32()))
			}
			return content
		}},
		{"empty", func(*rand.Rand, []byte) []byte { return nil }},
		{"random content", func(random *rand.Rand, content []byte) []byte {
			for i := range content {
				content[i] = byte(random.Uint32())
			}
			return content
		}},
	}
}

// recordDamages returns ways to damage records in an intact file.
func recordDamages() []damage {
	return []damage{
		{"a bit of some records", func(random *rand.Rand, record []byte) []byte {
			flip(random, record, 0, len(record), 1)
			return record
		}},
		{"some records cut off", func(random *rand.Rand, record []byte) []byte { return record[:random.IntN(len(record))] }},
		{"some records of an unknown format", func(_ *rand.Rand, record []byte) []byte {
			record[0]++
			return record
		}},
		{"some records longer", func(random *rand.Rand, record []byte) []byte {
			return append(record, record[:random.IntN(len(record))]...)
		}},
		{"some records deleted", func(*rand.Rand, []byte) []byte { return nil }},
	}
}

func flip(random *rand.Rand, content []byte, from, length, bits int) {
	for range bits {
		content[from+random.IntN(length)] ^= 1 << random.IntN(8)
	}
}

func randomPage(random *rand.Rand, content []byte) []byte {
	from := random.IntN(len(content)/pageSize) * pageSize
	return content[from : from+pageSize]
}

// TestDamagedStorage repeatedly damages the storage while no collector runs. Programs, each
// with unique paths, continue across the damages. Every collector must start and forward
// all records that it is sent. It must not write a path that its session has not sent
// yet, and records of sessions that were not damaged must be annotated correctly.
//
// file_storage reads a file in a goroutine of its own when it opens it, so a panic there
// terminates the process, whatever its caller does; a page that claims to be very long keeps
// it busy until it runs out of memory. A collector that exits or hangs during its start is
// started again, and must start once a file has been tried as often as it may; the same holds
// for the storage if its file cannot be opened. If the file that counts the attempts is the
// damaged one, an operator has to remove it.
func TestDamagedStorage(t *testing.T) {
	for _, way := range []struct {
		name, recreate string
		damages        []damage
		do             func(t *testing.T, directory string, damage func(content []byte) []byte)
		// mayNeedOperator allows that neither the collector nor the storage recovers by
		// itself.
		mayNeedOperator bool
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
			attempts := 0 // consecutive failures to open the storage
			const undamaged, after, recreated = "none", "none: the round after", "none: recreated"
			for kind, damaged := undamaged, 0; ; {
				opened := table.of(kind).round(t, directory, way.recreate, programs, way.mayNeedOperator)
				if !opened {
					require.NotContains(t, []string{undamaged, recreated}, kind, "an intact storage is opened")
					kind = after
					attempts++
					if attempts > maxAttempts+1 { // the last one gives the file up, which counts as a failure too
						require.True(t, way.mayNeedOperator, "the storage is not recreated")
						table.of(kind).operator++
						require.NoError(t, os.Remove(countFile(directory)))
						kind = recreated
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
			assert.Zero(t, all.missing, "records that were not received exactly once")
			assert.Zero(t, all.foreign, "annotations with a path that was not sent before")
			assert.Zero(t, all.wrong, "wrong annotations in sessions that were not damaged")
			if !way.mayNeedOperator {
				assert.NotZero(t, all.deaths+all.hung+all.failures["open"]+all.failures["read"], "damages that were noticed")
			}
			assert.NotZero(t, all.annotated, "records with a phase")
			assert.NotZero(t, all.undamaged, "records of sessions that were not damaged")
		})
	}
}

// outcome counts what happened in the rounds after one kind of damage.
type outcome struct {
	rounds int
	// deaths and hung count collectors that exited or hung in file_storage during their
	// start, operator the times that an operator had to remove a file.
	deaths, hung, operator int
	// failures counts storage failures by operation.
	failures map[string]int
	// records is the number of records sent; of these, missing were not received exactly
	// once and annotated have a phase.
	records, missing, annotated int
	// foreign counts annotations with a path that the session had not sent.
	foreign int
	// undamaged counts records of sessions that were not damaged, wrong those of them that
	// are annotated incorrectly.
	undamaged, wrong int
}

// round runs a collector with the storage and stops it. It reports whether the storage
// could be opened.
func (o *outcome) round(t *testing.T, directory, recreate string, programs []*program, mayNeedOperator bool) (opened bool) {
	t.Helper()
	o.rounds++
	c := o.start(t, directory, recreate, mayNeedOperator)
	for _, p := range programs {
		p.since = p.sent
	}
	for _, p := range programs {
		if !p.send(t, c) { // as a page that is damaged is written
			o.deaths++
			o.check(t, c, programs)
			return false
		}
	}
	failed := c.counts(t, failures, "operation")
	for operation, times := range failed {
		o.failures[operation] += times
	}
	if o.rounds%2 == 0 {
		c.kill(t)
	} else {
		c.stopAllowingErrors(t)
	}
	o.check(t, c, programs)
	return failed["open"] == 0
}

// start starts collectors until one is ready.
func (o *outcome) start(t *testing.T, directory, recreate string, mayNeedOperator bool) *collector {
	t.Helper()
	env := []string{"STORAGE=" + directory, "RECREATE=" + recreate}
	configuration := []string{"soak.yaml", "storage.yaml", "damage.yaml"}
	var printed string
	// The first one may open the file, and exit at a write that makes it worse.
	for range maxAttempts + 2 {
		c := launch(t, env, configuration...)
		up := c.await(openTimeout, func() bool { return c.ready(t, 1) })
		if up && c.running() {
			return c
		}
		if up {
			o.deaths++
		} else {
			o.hung++
			c.quit()
		}
		printed = c.requireStorageExit(t)
	}
	require.True(t, mayNeedOperator, "no collector starts; output of the last one:\n%s", printed)
	o.operator++
	require.NoError(t, os.Remove(countFile(directory)))
	return start(t, env, configuration...)
}

// damageEmitters returns programs with short and longer sessions, and one whose session
// spans many damages.
func damageEmitters(seed int) []*program {
	programs := make([]*program, 3)
	for i := range programs {
		e := newEmitter(i, seed)
		e.lost, e.early, e.spans, e.uniquePaths = 0, 0, true, true
		e.steps = []int{4, stepsPerSession, 4000}[i]
		e.perRequest = []int{maxRecordsPerRequest, maxRecordsPerRequest, 50}[i]
		programs[i] = &program{emitter: e, entered: map[string]int64{}}
	}
	return programs
}

// countFile returns the file that counts the attempts to open the index.
func countFile(directory string) string {
	return filepath.Join(directory, "processor_phase_attr__generations")
}

// indexFile returns the file of the index, which is the newest generation, and its storage
// client.
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

// damageRecords damages some of the records, including the first.
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

// program is an emitter whose requests are sent in portions.
type program struct {
	*emitter
	session *session
	next    []*request
	// entered has the number of the first request with a boundary of each path.
	entered map[string]int64
	// sent is the number of requests sent so far, since the number before this round.
	sent, since int
}

// send sends the next requests. A session that is already in progress has been damaged. It
// reports false if the collector has exited in file_storage; the request at hand is sent again then.
func (p *program) send(t *testing.T, c *collector) bool {
	t.Helper()
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
			scope := it.scope()
			if scope == nil {
				continue
			}
			for depth := range scope.Path { // a boundary implies its enclosing phases
				path := strings.Join(scope.Path[:depth+1], " / ")
				if _, known := p.entered[path]; !known {
					p.entered[path] = r.number
				}
			}
		}
		if err := c.export(t.Context(), r.batch()); err != nil {
			require.True(t, c.await(openTimeout, func() bool { return !c.running() }), err)
			c.requireStorageExit(t)
			p.next = append([]*request{r}, p.next...)
			return false
		}
		p.sent++
	}
	return true
}

// requireStorageExit requires that a collector has exited, or hung, in file_storage, and returns
// what it has printed.
func (c *collector) requireStorageExit(t *testing.T) string {
	t.Helper()
	printed := string(c.printed(t))
	require.Contains(t, printed, "go.etcd.io/bbolt.", "where the collector exited or hung")
	c.killed = true
	return printed
}

// paths returns the paths in an annotation.
func (a annotation) paths(t *testing.T) []string {
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

// check checks the output of a collector.
func (o *outcome) check(t *testing.T, c *collector, programs []*program) {
	t.Helper()
	received := output{}
	received.read(t, c)
	for _, p := range programs {
		for _, r := range p.requests[p.since:p.sent] {
			for _, it := range r.items {
				o.records++
				copies := received[recordID{int64(p.id), r.number, it.id}]
				if len(copies) != 1 {
					o.missing++
					continue
				}
				paths := copies[0].paths(t)
				if len(paths) > 0 {
					o.annotated++
				}
				for _, path := range paths {
					if entered, ok := p.entered[path]; !ok || entered > r.number || !strings.Contains(path, " of "+r.of.job.Session+" ") {
						o.foreign++
						t.Errorf("%s, emitter %d, request %d (%s), record %d: path %q was not sent before", r.of.job.Session, p.id, r.number, r.signal, it.id, path)
					}
				}
				if r.of.cut || !r.settled || it.want == nil {
					continue
				}
				o.undamaged++
				if !maps.Equal(copies[0], it.want) {
					o.wrong++
					t.Errorf("%s, emitter %d, request %d (%s), record %d: want %v, got %v", r.of.job.Session, p.id, r.number, r.signal, it.id, it.want, copies[0])
				}
			}
		}
	}
}

// outcomes has the outcome of each kind of damage.
type outcomes map[string]*outcome

func (o outcomes) of(kind string) *outcome {
	if o[kind] == nil {
		o[kind] = &outcome{failures: map[string]int{}}
	}
	return o[kind]
}

// print prints a table and returns the sum of its rows.
func (o outcomes) print(t *testing.T) *outcome {
	t.Helper()
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "damage\trounds\texits in file_storage\thangs in it\tremoved by hand\tnot opened\tunreadable\tnot written\t"+
		"records\tmissing\twith a phase\tof these not sent before\tof undamaged sessions\tof these wrong\t")
	row := func(kind string, o *outcome) {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t\n", kind, o.rounds, o.deaths, o.hung, o.operator,
			o.failures["open"], o.failures["read"], o.failures["write"],
			o.records, o.missing, o.annotated, o.foreign, o.undamaged, o.wrong)
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
		all.annotated += one.annotated
		all.foreign += one.foreign
		all.undamaged += one.undamaged
		all.wrong += one.wrong
	}
	row("all", all)
	require.NoError(t, w.Flush())
	t.Logf("damaged storage:\n%s", text.String())
	return all
}
