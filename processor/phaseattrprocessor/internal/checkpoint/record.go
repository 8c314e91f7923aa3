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

// version is that of the format. Records of version2 are read, too; a record of an older
// one is quarantined; a storage with a record of a newer one is left alone. There is no
// version 3, since one flipped bit would make it version 2.
const (
	version  = 4
	version2 = 2
)

// A record is a version, a checksum of its key and its payload, and the payload. That
// holds for every version.
const headerBytes = 1 + crc32.Size

// The prefixes of the keys of records; a number follows.
const (
	journalPrefix    = "journal/"
	snapshotPrefix   = "group/"
	quarantinePrefix = "unreadable/" // followed by the key that the record had
)

var (
	errMalformed = errors.New("malformed")
	errVersion   = errors.New("unknown version of the format")
	errChecksum  = errors.New("wrong checksum")
)

// key returns the key of a record. Keys sort like their numbers.
func key(prefix string, number uint64) string { return fmt.Sprintf("%s%016x", prefix, number) }

// number returns the number in the key of a record.
func number(prefix, key string) (uint64, error) {
	return strconv.ParseUint(strings.TrimPrefix(key, prefix), 16, 64)
}

// unsealed returns a record to append the payload to.
func unsealed() []byte { return make([]byte, headerBytes) }

// seal writes the header of a record and returns the record.
func seal(key string, record []byte) []byte {
	record[0] = version
	binary.LittleEndian.PutUint32(record[1:], checksum(key, record[headerBytes:]))
	return record
}

// unseal returns the version, known or not, and the payload of a record, as part of it.
func unseal(key string, record []byte) (byte, []byte, error) {
	switch {
	case len(record) < headerBytes:
		return 0, nil, errMalformed
	case binary.LittleEndian.Uint32(record[1:]) != checksum(key, record[headerBytes:]):
		return 0, nil, errChecksum
	}
	return record[0], record[headerBytes:], nil
}

// isNewer reports whether there is an undamaged record of a newer version.
func isNewer(stored map[string][]byte) bool {
	for key, record := range stored {
		found, _, _ := unseal(key, record)
		if found > version && (strings.HasPrefix(key, journalPrefix) || strings.HasPrefix(key, snapshotPrefix)) {
			return true
		}
	}
	return false
}

func checksum(key string, payload []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	return crc32.Update(crc32.Checksum([]byte(key), table), table, payload)
}
