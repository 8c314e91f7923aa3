// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Record runs a benchmark, prints its output, and writes it to a section of
// docs/performance.md, together with the machine that it ran on.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

func main() {
	page := flag.String("page", "../docs/performance.md", "page to write the result to")
	section := flag.String("section", "", "section of the page")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: record -section NAME COMMAND ARGUMENT...")
		flag.PrintDefaults()
	}
	flag.Parse()
	if *section == "" || flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := record(*page, *section, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func record(page, section string, command []string) error {
	before, err := os.ReadFile(page) //nolint:gosec // the caller's choice
	if err != nil {
		return err
	}
	if _, err = replace(string(before), section, ""); err != nil {
		return fmt.Errorf("%s: %w", page, err)
	}
	var printed bytes.Buffer
	benchmark := exec.Command(command[0], command[1:]...) //nolint:gosec // the caller's choice
	benchmark.Stdout = io.MultiWriter(os.Stdout, &printed)
	benchmark.Stderr = os.Stderr
	if err = benchmark.Run(); err != nil {
		return fmt.Errorf("run %s: %w", strings.Join(command, " "), err)
	}
	model, err := processorModel()
	if err != nil {
		return err
	}
	text := fmt.Sprintf("%d cores of %s, %s\n\n%s", runtime.NumCPU(), model, runtime.Version(), printed.String())
	// Another benchmark may have changed the page meanwhile.
	if before, err = os.ReadFile(page); err != nil { //nolint:gosec // the caller's choice
		return err
	}
	after, err := replace(string(before), section, text)
	if err != nil {
		return fmt.Errorf("%s: %w", page, err)
	}
	return os.WriteFile(page, []byte(after), 0o644) //nolint:gosec // it is documentation
}

// replace replaces the text between the marks of a section.
func replace(page, section, text string) (string, error) {
	begin, end := "<!-- begin "+section+" -->\n", "<!-- end "+section+" -->"
	head, rest, found := strings.Cut(page, begin)
	_, tail, closed := strings.Cut(rest, end)
	if !found || !closed {
		return "", fmt.Errorf("no section %q", section)
	}
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return head + begin + "```text\n" + strings.Join(lines, "\n") + "\n```\n" + end + tail, nil
}

// processorModel returns the model name of the machine's processor.
func processorModel() (string, error) {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(info)) {
		if name, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value), nil
		}
	}
	return runtime.GOARCH, nil
}
