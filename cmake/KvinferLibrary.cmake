# kvinfer_shared_library(<target> SOURCES <files> LINKS <rooms>): the one shared library, which exports
# only what pkgconfig/kvinfer.map names.
#
# libstdc++ stays dynamic: a host in C++ shares ours, and the library still leaves the process at
# dlclose, since -fno-gnu-unique (KvinferCompile) keeps symbols that would pin it out of it.

function(kvinfer_shared_library name)
  cmake_parse_arguments(LIBRARY "" "" "SOURCES;LINKS" ${ARGN})
  set(map ${PROJECT_SOURCE_DIR}/pkgconfig/kvinfer.map)
  add_library(${name} SHARED ${LIBRARY_SOURCES})
  add_library(kvinfer::${name} ALIAS ${name})
  target_include_directories(${name}
    PUBLIC
      $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
      $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>
    PRIVATE ${PROJECT_SOURCE_DIR}/lib)
  target_link_libraries(${name} PRIVATE kvinfer_flags ${LIBRARY_LINKS})
  target_link_options(${name} PRIVATE
    -Wl,--version-script=${map} -Wl,--no-undefined -Wl,-z,relro,-z,now)
  set_target_properties(${name} PROPERTIES
    VERSION ${PROJECT_VERSION} SOVERSION 0 LINK_DEPENDS ${map})
endfunction()

# Installed programs find the library beside them, wherever the prefix is moved to.
file(RELATIVE_PATH library_from_bin ${CMAKE_INSTALL_FULL_BINDIR} ${CMAKE_INSTALL_FULL_LIBDIR})
set(CMAKE_INSTALL_RPATH "$ORIGIN/${library_from_bin}")
