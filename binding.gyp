{
  # The addon. Release is what runs; Debug is the sanitizer build (npm run build:asan).
  'variables': {
    'version%': '<!(node -p "require(\'./package.json\').version")',
    'werror%': '<!(node -p "process.env.CI ? 1 : 0")',
  },
  'targets': [
    {
      'target_name': 'tungate',
      'sources': [
        'native/addon.cc',
        'native/tun.cc',
        'native/wait.cc',
        'native/memory.cc',
        'native/netlink.cc',
        'native/checksum.cc',
        'native/notify.cc',
        'native/crypto.cc',
        'native/udp.cc',
        'native/vxlan.cc',
        'native/bpf.cc',
      ],
      'include_dirs': ['<!(node -p "require(\'node-addon-api\').include_dir")'],
      'defines': ['NAPI_VERSION=9', 'NAPI_CPP_EXCEPTIONS', 'TUNGATE_VERSION="<(version)"'],
      'cflags_cc!': ['-fno-exceptions', '-fno-rtti', '-std=gnu++20'],
      'cflags_cc': ['-std=c++17', '-fexceptions', '-fvisibility=hidden', '-fvisibility-inlines-hidden'],
      'cflags': ['-Wall', '-Wextra', '-fstack-protector-strong'],
      'ldflags': ['-Wl,-z,relro', '-Wl,-z,now', '-Wl,-z,noexecstack'],
      'conditions': [['werror==1', { 'cflags': ['-Werror'] }]],
      'configurations': {
        'Release': { 'cflags!': ['-O3'], 'cflags': ['-O2'], 'defines': ['_FORTIFY_SOURCE=2'] },
        'Debug': {
          'cflags': ['-O1', '-g', '-fsanitize=address,undefined', '-fno-sanitize-recover=undefined', '-fno-omit-frame-pointer'],
          'ldflags': ['-fsanitize=address,undefined'],
        },
      },
    },
  ],
}
