// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestBenchmarksAreRunAndCompared(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, run(&out, "../..", 1, 1))
	assert.Contains(t, out.String(), "more, ns")
	assert.Contains(t, out.String(), "to unmarshalling")
}

func TestFiguresAreThoseOfAllBenchmarks(t *testing.T) {
	const text = `goos: linux
BenchmarkForeignSpan/stormlog         	     100	    400000 ns/op	       300.5 cpu-ns/item	   17483 B/op	     626 allocs/op
BenchmarkForeignSpan/all_presets      	     100	    400000 ns/op	       340.5 cpu-ns/item	   17483 B/op	     626 allocs/op
BenchmarkForeignRecord/stormlog       	     100	    400000 ns/op	       400 cpu-ns/item	   17483 B/op	     626 allocs/op
BenchmarkForeignRecord/all_presets    	     100	    400000 ns/op	       420 cpu-ns/item	   17483 B/op	     626 allocs/op
BenchmarkIngestSpans/unmarshal        	     100	    400000 ns/op	       500 cpu-ns/item	   17483 B/op	     626 allocs/op
`
	_, err := parse(text)
	require.ErrorContains(t, err, "no figures of IngestSpans/unmarshal and IngestSpans/ingest")
	read, err := parse(text + "BenchmarkIngestSpans/ingest 100 400000 ns/op 1500 cpu-ns/item\n")
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, printTables(&out, []figures{read}))
	assert.Regexp(t, `(?m)^ +span +300 +340 +40\n +log record +400 +420 +20$`, out.String())
	assert.Regexp(t, `(?m)^ +span +500 +1500 +3\.00$`, out.String())
	_, err = parse("BenchmarkForeignSpan/stormlog 100 fast cpu-ns/item\n")
	require.ErrorContains(t, err, "read the figure of BenchmarkForeignSpan/stormlog")
}
