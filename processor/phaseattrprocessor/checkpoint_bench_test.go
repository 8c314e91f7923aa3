// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/storage/filestorage"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/extension/extensiontest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/collector/processor/processortest"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/metadata"
)

// BenchmarkStorageRestore measures how long a start takes, and how large the file is,
// with 10,000 ranks of 600 boundaries each: as many as max_boundaries allows.
func BenchmarkStorageRestore(b *testing.B) {
	const ranks, window = 10_000, 600
	directory := b.TempDir()
	p := startStored(b, directory, false)
	run := &program{session: "run"}
	ld := trainingRecords(b, run, window)
	for rank := range ranks {
		ld.ResourceLogs().At(0).Resource().Attributes().PutStr("session_id", "c0ffee00-0000-4000-8000-"+fmt.Sprintf("%012d", rank))
		require.NoError(b, p.ConsumeLogs(b.Context(), ld))
	}
	require.NoError(b, p.Shutdown(b.Context()))

	for b.Loop() {
		p = startStored(b, directory, false)
		b.StopTimer()
		state := p.(*logsProcessor).pipeline.engine
		stats := state.index.Stats()
		require.Equal(b, ranks, stats.Ranks)
		require.EqualValues(b, ranks*window, stats.Boundaries)
		b.ReportMetric(float64(state.store.Bytes())/ranks, "stored-B/rank")
		require.NoError(b, p.Shutdown(b.Context()))
		b.StartTimer()
	}
	b.ReportMetric(float64(sizeOf(b, directory))/ranks, "file-B/rank")
}

// BenchmarkStorageIngest measures how many times longer the same boundaries take with
// file_storage, without and with fsync. Four clients send them over HTTP.
func BenchmarkStorageIngest(b *testing.B) {
	const senders, boundaries = 4, 20_000
	for _, size := range []int{1, 10, 100, 1000} {
		b.Run("batch="+strconv.Itoa(size), func(b *testing.B) {
			sent := max(boundaries*min(size, 100)/100, 2000) // small batches are slow
			runs := make([][][]byte, senders)
			for i := range runs {
				runs[i] = encodedBatches(b, fmt.Sprintf("run-%d", i), sent, size)
			}
			var plain, stored, synced time.Duration
			for b.Loop() {
				plain += timeToIngest(b, startStored(b, "", false), runs)
				stored += timeToIngest(b, startStored(b, b.TempDir(), false), runs)
				synced += timeToIngest(b, startStored(b, b.TempDir(), true), runs)
			}
			perSecond := func(took time.Duration) float64 { return float64(senders*sent*b.N) / took.Seconds() }
			b.ReportMetric(perSecond(plain), "boundaries/s")
			b.ReportMetric(perSecond(stored), "stored/s")
			b.ReportMetric(perSecond(synced), "synced/s")
			b.ReportMetric(stored.Seconds()/plain.Seconds(), "x-storage")
			b.ReportMetric(synced.Seconds()/plain.Seconds(), "x-fsync")
			b.ReportMetric(0, "ns/op") // the sum of three runs means nothing
		})
	}
}

// startStored starts a logs pipeline that stores its index in a directory, unless that is
// empty.
func startStored(b *testing.B, directory string, fsync bool) processor.Logs {
	b.Helper()
	cfg := createDefaultConfig().(*Config)
	host := host{Host: componenttest.NewNopHost()}
	if directory != "" {
		cfg.Storage = &storageID
		factory := filestorage.NewFactory()
		storage := factory.CreateDefaultConfig().(*filestorage.Config)
		storage.Directory, storage.FSync = directory, fsync
		ext, err := factory.Create(b.Context(), extensiontest.NewNopSettings(factory.Type()), storage)
		require.NoError(b, err)
		host.extension = ext
	}
	set := processortest.NewNopSettings(metadata.Type)
	set.ID = component.NewID(metadata.Type)
	p, err := NewFactory().CreateLogs(b.Context(), set, cfg, consumertest.NewNop())
	require.NoError(b, err)
	require.NoError(b, p.Start(b.Context(), host))
	return p
}

// trainingRecords returns boundaries of a program within ten minutes, without a session:
// it must be set on the resource.
func trainingRecords(b *testing.B, run *program, n int) plog.Logs {
	b.Helper()
	ld := plog.NewLogs()
	out := ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords()
	now := 0.0
	add := func(event object) {
		now += 599 / float64(n)
		if out.Len() == n {
			return
		}
		delete(event, "session_id")
		require.NoError(b, out.AppendEmpty().Attributes().FromRaw(event))
	}
	w := run.worker(1)
	add(w.enter(now, "train"))
	for out.Len() < n {
		add(w.enter(now, "step"))
		for _, name := range []string{"load_batch", "forward", "backward", "optimizer_step"} {
			add(w.enter(now, name))
			add(w.exit(now))
		}
		add(w.exit(now))
	}
	return ld
}

// encodedBatches returns the boundaries of a run in batches of a size.
func encodedBatches(b *testing.B, session string, boundaries, size int) [][]byte {
	b.Helper()
	records := trainingRecords(b, &program{session: session}, boundaries).ResourceLogs().At(0).ScopeLogs().At(0).LogRecords()
	var batches [][]byte
	for from := 0; from < boundaries; from += size {
		ld := plog.NewLogs()
		resource := ld.ResourceLogs().AppendEmpty()
		resource.Resource().Attributes().PutStr("session_id", session)
		batch := resource.ScopeLogs().AppendEmpty().LogRecords()
		for i := from; i < min(from+size, boundaries); i++ {
			records.At(i).MoveTo(batch.AppendEmpty())
		}
		encoded, err := (&plog.ProtoMarshaler{}).MarshalLogs(ld)
		require.NoError(b, err)
		batches = append(batches, encoded)
	}
	return batches
}

// timeToIngest returns how long a pipeline takes to ingest runs that are sent at the same
// time. It shuts the pipeline down.
func timeToIngest(b *testing.B, p processor.Logs, runs [][][]byte) time.Duration {
	b.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		assert.NoError(b, err)
		ld, err := (&plog.ProtoUnmarshaler{}).UnmarshalLogs(body)
		assert.NoError(b, err)
		assert.NoError(b, p.ConsumeLogs(r.Context(), ld))
		w.WriteHeader(http.StatusNoContent)
	}))
	defer server.Close()
	client := server.Client()
	client.Transport.(*http.Transport).MaxIdleConnsPerHost = len(runs)

	begin := time.Now()
	var sending sync.WaitGroup
	for _, batches := range runs {
		sending.Go(func() {
			for _, batch := range batches {
				response, err := client.Post(server.URL, "application/x-protobuf", bytes.NewReader(batch)) //nolint:noctx // the server is in this process
				if assert.NoError(b, err) {
					assert.Equal(b, http.StatusNoContent, response.StatusCode)
					assert.NoError(b, response.Body.Close())
				}
			}
		})
	}
	sending.Wait()
	took := time.Since(begin)
	require.NoError(b, p.Shutdown(b.Context()))
	return took
}

// sizeOf returns the size of the files in a directory, in bytes.
func sizeOf(b *testing.B, directory string) (size int64) {
	b.Helper()
	require.NoError(b, fs.WalkDir(os.DirFS(directory), ".", func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	}))
	return size
}
