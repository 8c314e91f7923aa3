// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package gateway

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/phaseattr/phaseattr/test/certificates"
)

// Size of the job.
const (
	ranks         = 256
	gpusPerNode   = 8
	pointsPerRank = 3 // per second
)

// cluster is two agents, each of which serves half of the nodes, and the gateways behind
// them.
type cluster struct {
	certificates string
	backend      *backend
	routes       string
	agents       []*collector
}

// newCluster returns a cluster without collectors.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	return &cluster{certificates: certificates.New(t, "otelcol-gateway"), backend: newBackend(t), routes: filepath.Join(t.TempDir(), "routes.yaml")}
}

// gateway starts a gateway.
func (c *cluster) gateway(t *testing.T, name string, onTop ...string) *collector {
	t.Helper()
	files := append([]string{example("gateway.yaml"), testdata("gateway.yaml")}, onTop...)
	g := newCollector(t, name, c.certificates, []string{"BACKEND=" + c.backend.url + "/" + name}, files...)
	g.start(t)
	return g
}

// startAgents starts two agents.
func (c *cluster) startAgents(t *testing.T, onTop ...string) {
	t.Helper()
	for i := range 2 {
		files := append([]string{example("agent.yaml"), testdata("agent.yaml"), c.routes}, onTop...)
		a := newCollector(t, fmt.Sprintf("agent%d", i+1), c.certificates, nil, files...)
		a.start(t)
		c.agents = append(c.agents, a)
	}
}

// route makes the agents distribute telemetry among gateways, one agent after the other, as
// they would find out by DNS.
func (c *cluster) route(t *testing.T, gateways ...*collector) {
	t.Helper()
	var addresses []string
	for _, g := range gateways {
		addresses = append(addresses, g.otlp)
	}
	write(t, c.routes, "exporters: {load_balancing: {resolver: {static: {hostnames: ["+strings.Join(addresses, ", ")+"]}}}}\n")
	for _, a := range c.agents {
		a.reload(t)
	}
}

// drained waits until nothing waits in the agents.
func (c *cluster) drained(t *testing.T) {
	t.Helper()
	for _, a := range c.agents {
		a.awaitIdle(t)
	}
}

// job is a job on paper that runs.
type job struct {
	start   time.Time
	truth   string
	command *exec.Cmd
	printed bytes.Buffer
}

// run starts a job of 32 nodes. Its start is at a full period of its history.
func (c *cluster) run(t *testing.T, duration time.Duration, flags ...string) *job {
	t.Helper()
	j := &job{start: time.Now().Truncate(period).Add(period), truth: filepath.Join(t.TempDir(), "truth.jsonl")}
	<-time.After(time.Until(j.start))
	args := []string{
		"run", "-ranks", strconv.Itoa(ranks), "-gpus-per-node", strconv.Itoa(gpusPerNode), "-step", "2s", "-duration", duration.String(),
		"-start", j.start.Format(time.RFC3339), "-truth", j.truth,
	}
	for _, a := range c.agents {
		args = append(args, "-to", "grpc://"+a.otlp)
	}
	j.command = exec.Command(phasegen(t), append(args, flags...)...) //nolint:gosec // the user chooses the program
	j.command.Stderr = &j.printed
	require.NoError(t, j.command.Start())
	t.Cleanup(func() { _ = j.command.Process.Kill() })
	return j
}

// after waits until the job has run for some time.
func (j *job) after(offset time.Duration) { <-time.After(time.Until(j.start.Add(offset))) }

// wait waits for the end of the job and returns how many points it sent.
func (j *job) wait(t *testing.T) (points int) {
	t.Helper()
	require.NoError(t, j.command.Wait(), j.printed.String())
	found := regexp.MustCompile(`and (\d+) data points`).FindStringSubmatch(j.printed.String())
	require.Len(t, found, 2, j.printed.String())
	points, err := strconv.Atoi(found[1])
	require.NoError(t, err)
	return points
}

// period is what a line of a history stands for.
const period = 5 * time.Second

// history is the share of points with each verdict, in percent, by the number of the
// period, and the number of points that have not come.
type history []struct {
	right, ambiguous, none, wrong float64
	missing                       int
}

var line = regexp.MustCompile(`(?m)^ *\S+ +\d+ +(\S+)% +(\S+)% +(\S+)% +(\S+)% +(\S+)%$`)

// check compares what the backend has with the truth.
func (j *job) check(t *testing.T, b *backend) (h history, table string) {
	t.Helper()
	args := []string{"check", "-truth", j.truth, "-got", b.file, "-every", period.String(), "-max-wrong", "1"}
	output, err := exec.Command(phasegen(t), args...).CombinedOutput() //nolint:gosec // as above
	require.NoError(t, err, "%s", output)
	number := func(text string) float64 {
		value, err := strconv.ParseFloat(text, 64)
		require.NoError(t, err)
		return value
	}
	for _, found := range line.FindAllStringSubmatch(string(output), -1) {
		h = append(h, struct {
			right, ambiguous, none, wrong float64
			missing                       int
		}{right: number(found[1]), ambiguous: number(found[2]), none: number(found[3]), wrong: number(found[4])})
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range h {
		h[i].missing = ranks * pointsPerRank * int(period/time.Second)
	}
	for p := range b.points {
		if i := int((p.at - j.start.UnixNano()) / int64(period)); i < len(h) {
			h[i].missing--
		}
	}
	return h, string(output)
}

// print prints a history with what happened in it.
func (h history) print(events map[time.Duration]string) string {
	var text strings.Builder
	fmt.Fprintf(&text, "%9s %8s %9s %7s %7s %8s\n", "from", "right", "ambiguous", "none", "wrong", "missing")
	for i, p := range h {
		at := time.Duration(i) * period
		fmt.Fprintf(&text, "%9v %7.2f%% %8.2f%% %6.2f%% %6.2f%% %8d  %s\n", at, p.right, p.ambiguous, p.none, p.wrong, p.missing, events[at])
	}
	return text.String()
}

func phasegen(t *testing.T) string {
	t.Helper()
	binary := os.Getenv("PHASEGEN")
	require.NotEmpty(t, binary, "PHASEGEN must be the path of a program; make e2e-gateway sets it")
	return binary
}
