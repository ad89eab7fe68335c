#!/usr/bin/env bash
# Keeps what the service is to have of this environment: .path becomes its PATH, .env the rest.

echo "$PATH" > .path
touch .env

kept=(
    LANG JAVA_HOME ANT_HOME M2_HOME ANDROID_HOME ANDROID_SDK_ROOT GRADLE_HOME NVM_BIN NVM_PATH
    LD_LIBRARY_PATH PERL5LIB
)
for name in "${kept[@]}"; do
    if [ -n "${!name}" ] && ! grep --quiet "$name=" .env; then
        echo "$name=${!name}" >> .env
    fi
done
