// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"

	"github.com/phaseattr/phaseattr/benchmarks/internal/fleet"
	"github.com/phaseattr/phaseattr/cmd/phasegen/job"
)

// The attributes that the Kubernetes enricher writes, on resources.
const (
	keyPodName   = "k8s.pod.name"
	keyNamespace = "k8s.namespace.name"
	namespace    = "training"
)

// cluster is the API of a Kubernetes cluster in which each rank is a pod, as far as the
// Kubernetes enricher uses it.
type cluster struct {
	server *httptest.Server
	pods   []object
	// directory contains the kubeconfig.
	directory string
}

type object = map[string]any

// startCluster starts the API.
func startCluster(jobs []*job.Job) *cluster {
	c := &cluster{}
	for _, j := range jobs {
		for _, rank := range j.World {
			ip := fleet.PodIP(j, rank)
			c.pods = append(c.pods, object{
				"metadata": object{
					"name": "trainer-" + ip, "namespace": namespace, "uid": "uid-" + ip, "resourceVersion": "1",
				},
				"spec":   object{"nodeName": rank.Host},
				"status": object{"podIP": ip, "phase": "Running"},
			})
		}
	}
	c.server = httptest.NewServer(http.HandlerFunc(c.serve))
	return c
}

func (c *cluster) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if r.URL.Query().Get("sendInitialEvents") != "" { // clients fall back to a list
		w.WriteHeader(http.StatusUnprocessableEntity)
		_ = json.NewEncoder(w).Encode(object{
			"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Invalid",
			"code": http.StatusUnprocessableEntity,
		})
		return
	}
	if r.URL.Query().Get("watch") != "" { // nothing ever changes
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		return
	}
	_ = json.NewEncoder(w).Encode(object{
		"kind": "PodList", "apiVersion": "v1", "metadata": object{"resourceVersion": "1"}, "items": c.pods,
	})
}

// announce points Kubernetes clients to the cluster.
func (c *cluster) announce() error {
	text, err := json.Marshal(object{
		"apiVersion": "v1", "kind": "Config", "current-context": "it",
		"clusters": []object{{"name": "it", "cluster": object{"server": c.server.URL}}},
		"contexts": []object{{"name": "it", "context": object{"cluster": "it", "user": "it"}}},
		"users":    []object{{"name": "it", "user": object{}}},
	})
	if err != nil {
		return fmt.Errorf("describe the cluster: %w", err)
	}
	if c.directory, err = os.MkdirTemp("", "cluster"); err != nil {
		return fmt.Errorf("create a directory for the kubeconfig: %w", err)
	}
	path := filepath.Join(c.directory, "kubeconfig")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return fmt.Errorf("write the kubeconfig: %w", err)
	}
	return os.Setenv("KUBECONFIG", path)
}

func (c *cluster) close() {
	c.server.CloseClientConnections()
	c.server.Close()
	_ = os.RemoveAll(c.directory)
}
