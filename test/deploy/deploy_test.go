// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Package deploy compares the files of deploy with the example that they install.
package deploy

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"
)

func root(path string) string { return filepath.Join("..", "..", path) }

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(root(path))
	require.NoError(t, err)
	return string(content)
}

func parse(t *testing.T, yaml string) *confmap.Conf {
	t.Helper()
	retrieved, err := confmap.NewRetrievedFromYAML([]byte(yaml))
	require.NoError(t, err)
	conf, err := retrieved.AsConf()
	require.NoError(t, err)
	return conf
}

// objects returns the objects of a manifest by kind.
func objects(t *testing.T, path string) map[string]*confmap.Conf {
	t.Helper()
	objects := map[string]*confmap.Conf{}
	for document := range strings.SplitSeq(read(t, path), "\n---\n") {
		object := parse(t, document)
		objects[object.Get("kind").(string)] = object
	}
	return objects
}

var readByCollector = regexp.MustCompile(`/etc/otelcol/([a-z-]+\.yaml)`)

// TestManifestsHaveTheConfigurationsOfTheExample: the ConfigMaps have the files that the
// collectors are started with, and each is that of the example.
func TestManifestsHaveTheConfigurationsOfTheExample(t *testing.T) {
	for path, kind := range map[string]string{
		"deploy/kubernetes/agent.yaml":      "DaemonSet",
		"deploy/kubernetes/agent-otlp.yaml": "DaemonSet",
		"deploy/kubernetes/gateway.yaml":    "StatefulSet",
	} {
		manifest := objects(t, path)
		data := manifest["ConfigMap"].Get("data").(map[string]any)
		for name, content := range data {
			assert.Equal(t, read(t, "examples/gateway/"+name), content, "%s of %s", name, path)
		}
		encoded, err := json.Marshal(manifest[kind].ToStringMap())
		require.NoError(t, err)
		used := map[string]int{} // as an argument and as a mount
		for _, found := range readByCollector.FindAllStringSubmatch(string(encoded), -1) {
			assert.Contains(t, data, found[1], path)
			used[found[1]]++
		}
		for name := range data {
			assert.Equal(t, 2, used[name], "%s of %s", name, path)
		}
	}
}

func TestOperatorHasTheConfigurationOfTheExample(t *testing.T) {
	config, err := parse(t, read(t, "deploy/operator/gateway.yaml")).Sub("spec::config")
	require.NoError(t, err)
	assert.Equal(t, parse(t, read(t, "examples/gateway/gateway.yaml")).ToStringMap(), config.ToStringMap())
}

// values are those of the chart opentelemetry-collector 0.170.0 that are used here.
type values struct {
	Mode             string `json:"mode"`
	FullnameOverride string `json:"fullnameOverride"`
	ReplicaCount     int    `json:"replicaCount"`
	Image            struct {
		Repository string `json:"repository"`
		Tag        string `json:"tag"`
	} `json:"image"`
	Command struct {
		Name      string   `json:"name"`
		ExtraArgs []string `json:"extraArgs"`
	} `json:"command"`
	ConfigMap struct {
		Create       bool   `json:"create"`
		ExistingName string `json:"existingName"`
	} `json:"configMap"`
	ServiceAccount struct {
		Create                       bool `json:"create"`
		AutomountServiceAccountToken bool `json:"automountServiceAccountToken"`
	} `json:"serviceAccount"`
	ExtraEnvs         []map[string]any `json:"extraEnvs"`
	ExtraVolumes      []map[string]any `json:"extraVolumes"`
	ExtraVolumeMounts []map[string]any `json:"extraVolumeMounts"`
	Statefulset       struct {
		PodManagementPolicy  string           `json:"podManagementPolicy"`
		VolumeClaimTemplates []map[string]any `json:"volumeClaimTemplates"`
	} `json:"statefulset"`
	Service struct {
		Enabled               bool   `json:"enabled"`
		ClusterIP             string `json:"clusterIP"`
		InternalTrafficPolicy string `json:"internalTrafficPolicy"`
	} `json:"service"`
	Ports map[string]struct {
		Enabled       bool   `json:"enabled"`
		ContainerPort int    `json:"containerPort"`
		ServicePort   int    `json:"servicePort"`
		Protocol      string `json:"protocol"`
	} `json:"ports"`
	PodMonitor struct {
		Enabled          bool             `json:"enabled"`
		MetricsEndpoints []map[string]any `json:"metricsEndpoints"`
	} `json:"podMonitor"`
	PodDisruptionBudget struct {
		Enabled        bool `json:"enabled"`
		MaxUnavailable int  `json:"maxUnavailable"`
	} `json:"podDisruptionBudget"`
	StartupProbe struct {
		PeriodSeconds    int            `json:"periodSeconds"`
		FailureThreshold int            `json:"failureThreshold"`
		HTTPGet          map[string]any `json:"httpGet"`
	} `json:"startupProbe"`
	Rollout struct {
		Strategy      string         `json:"strategy"`
		RollingUpdate map[string]any `json:"rollingUpdate"`
	} `json:"rollout"`
	TerminationGracePeriodSeconds int               `json:"terminationGracePeriodSeconds"`
	PodSecurityContext            map[string]any    `json:"podSecurityContext"`
	SecurityContext               map[string]any    `json:"securityContext"`
	NodeSelector                  map[string]string `json:"nodeSelector"`
	Tolerations                   []map[string]any  `json:"tolerations"`
	Resources                     map[string]any    `json:"resources"`
}

// TestHelmValues decodes the values strictly, and compares them with the manifests.
func TestHelmValues(t *testing.T) {
	for name, kind := range map[string]string{"agent": "DaemonSet", "gateway": "StatefulSet"} {
		encoded, err := json.Marshal(parse(t, read(t, "deploy/helm/"+name+"-values.yaml")).ToStringMap())
		require.NoError(t, err)
		decoder := json.NewDecoder(bytes.NewReader(encoded))
		decoder.DisallowUnknownFields()
		var v values
		require.NoError(t, decoder.Decode(&v), name)

		manifest := map[string]string{"agent": "agent-otlp", "gateway": "gateway"}[name]
		encoded, err = json.Marshal(objects(t, "deploy/kubernetes/"+manifest+".yaml")[kind].ToStringMap())
		require.NoError(t, err)
		var workload struct {
			Spec struct {
				Template struct {
					Spec struct {
						SecurityContext map[string]any
						Containers      []struct {
							Image                      string
							SecurityContext, Resources map[string]any
						}
					}
				}
			}
		}
		require.NoError(t, json.Unmarshal(encoded, &workload))
		pod := workload.Spec.Template.Spec
		container := pod.Containers[0]
		assert.Equal(t, strings.ToLower(kind), v.Mode)
		assert.Equal(t, container.Image, v.Image.Repository+":"+v.Image.Tag)
		assert.Equal(t, pod.SecurityContext, v.PodSecurityContext, name)
		assert.Equal(t, container.SecurityContext, v.SecurityContext, name)
		assert.Equal(t, container.Resources, v.Resources, name)
		for _, argument := range v.Command.ExtraArgs {
			assert.FileExists(t, root("examples/gateway/"+filepath.Base(argument)))
		}
	}
}

// TestUnitsAreHardened checks what systemd-analyze security weighs most.
func TestUnitsAreHardened(t *testing.T) {
	for _, name := range []string{"agent", "gateway"} {
		unit := read(t, "deploy/systemd/otelcol-"+name+".service")
		for _, setting := range []string{
			"User=otelcol", "NoNewPrivileges=yes", "CapabilityBoundingSet=", "ProtectSystem=strict", "PrivateDevices=yes",
			"RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX", "SystemCallFilter=@system-service", "StateDirectory=otelcol",
		} {
			assert.Contains(t, unit, "\n"+setting+"\n", name)
		}
		for _, found := range readByCollector.FindAllStringSubmatch(unit, -1) {
			assert.FileExists(t, root("examples/gateway/"+found[1]))
		}
	}
}
