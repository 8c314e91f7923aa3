// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

// version is the format's. A record of another one is not read.
const version = 2

// A record is a version, a checksum of its key and its payload, and the payload.
const headerBytes = 1 + crc32.Size

// The keys of the records: what they are and a number.
const (
	journalPrefix    = "journal/"
	snapshotPrefix   = "group/"
	unreadablePrefix = "unreadable/"
	// proofKey is written to see whether the storage can be written.
	proofKey = "proof"
)

var (
	errVersion  = errors.New("unknown version of the format")
	errChecksum = errors.New("wrong checksum")
)

// key is that of a record by its number. Keys sort as their numbers do.
func key(prefix string, number uint64) string { return fmt.Sprintf("%s%016x", prefix, number) }

// number is that of the record under a key.
func number(prefix, key string) (uint64, bool) {
	digits, ok := strings.CutPrefix(key, prefix)
	n, err := strconv.ParseUint(digits, 16, 64)
	return n, ok && err == nil
}

// unsealed returns a record without a payload, which is to be appended to it.
func unsealed() []byte { return make([]byte, headerBytes) }

// seal fills in the header of a record, and returns it.
func seal(key string, record []byte) []byte {
	record[0] = version
	binary.LittleEndian.PutUint32(record[1:], checksum(key, record[headerBytes:]))
	return record
}

// unseal returns the payload of a record, which stays the record's own.
func unseal(key string, record []byte) ([]byte, error) {
	switch {
	case len(record) < headerBytes:
		return nil, errMalformed
	case record[0] != version:
		return nil, fmt.Errorf("%w (%d)", errVersion, record[0])
	}
	payload := record[headerBytes:]
	if binary.LittleEndian.Uint32(record[1:]) != checksum(key, payload) {
		return nil, errChecksum
	}
	return payload, nil
}

func checksum(key string, payload []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	return crc32.Update(crc32.Checksum([]byte(key), table), table, payload)
}
